// The state of the connection, in words: live, connecting, lost, offline.

const WORDS = { live: "Live", waiting: "Connecting", lost: "Reconnecting" };

export function showLink(stream) {
  const pill = document.getElementById("connection");
  const banner = document.querySelector("[data-offline]");
  const show = () => {
    const offline = !navigator.onLine;
    pill.dataset.link = offline ? "lost" : stream.link;
    pill.querySelector(".word").textContent = offline ? "Offline" : WORDS[stream.link];
    pill.title = stream.link === "live" ? "News arrives by itself" : "News does not arrive at the moment; reload to see it";
    banner.hidden = !offline;
  };
  stream.addEventListener("link", show);
  addEventListener("online", show);
  addEventListener("offline", show);
  show();
}
