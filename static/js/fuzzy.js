// How well a line holds what somebody typed: their letters in their order, better at the beginnings of words and in one piece.

const START = 3;
const NEXT = 2;
const WHOLE = 4;

function isStart(line, at) {
  return at === 0 || !/[\p{L}\p{N}]/u.test(line[at - 1]);
}

/** Where a letter is next, at the beginning of a word if `eager`. */
function find(line, letter, from, eager) {
  for (let at = line.indexOf(letter, from); eager && at >= 0; at = line.indexOf(letter, at + 1)) if (isStart(line, at)) return at;
  return line.indexOf(letter, from);
}

function walk(line, letters, eager) {
  let [at, sum] = [-1, 0];
  for (const letter of letters) {
    const found = find(line, letter, at + 1, eager && line[at + 1] !== letter);
    if (found < 0) return 0;
    sum += isStart(line, found) ? START : found === at + 1 ? NEXT : 1 / (found - at);
    at = found;
  }
  return sum / letters.length;
}

/** 0 where the letters are not there in their order; more is better. */
export function score(text, typed) {
  const line = text.toLowerCase();
  const words = typed.toLowerCase().trim();
  const letters = [...words.replaceAll(/\s+/g, "")];
  if (!letters.length) return 1;
  const best = Math.max(walk(line, letters, true), walk(line, letters, false));
  const whole = line.indexOf(words);
  return best && best + (whole < 0 ? 0 : isStart(line, whole) ? WHOLE : 1) - line.length / 1000;
}
