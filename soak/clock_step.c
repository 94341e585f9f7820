/* A library to preload: the wall clock of a program, moved by the seconds in the file that SOAK_CLOCK_FILE names. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long read_offset(void) {
    char text[32] = {0};
    const char *path = getenv("SOAK_CLOCK_FILE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    ssize_t size = read(file, text, sizeof text - 1);
    close(file);
    return size > 0 ? atol(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *moment) {
    static int (*next)(clockid_t, struct timespec *);
    if (!next) next = dlsym(RTLD_NEXT, "clock_gettime");
    int result = next(clock, moment);
    if (!result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) moment->tv_sec += read_offset();
    return result;
}

time_t time(time_t *target) {
    struct timespec moment;
    clock_gettime(CLOCK_REALTIME, &moment);
    if (target) *target = moment.tv_sec;
    return moment.tv_sec;
}

int gettimeofday(struct timeval *target, void *zone) {
    (void)zone;
    struct timespec moment;
    clock_gettime(CLOCK_REALTIME, &moment);
    target->tv_sec = moment.tv_sec;
    target->tv_usec = moment.tv_nsec / 1000;
    return 0;
}
