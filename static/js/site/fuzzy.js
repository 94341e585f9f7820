// Fuzzy match: the typed letters in their order, ranked higher at the beginnings of words and in one piece.

const START_SCORE = 3;
const NEXT_SCORE = 2;
const WHOLE_SCORE = 4;

function isStart(line, at) {
  return at === 0 || !/[\p{L}\p{N}]/u.test(line[at - 1]);
}

/** Find the next position of a letter; with `eager`, at the beginning of a word. */
function findLetter(line, letter, from, prefersStart) {
  for (let at = line.indexOf(letter, from); prefersStart && at >= 0; at = line.indexOf(letter, at + 1)) if (isStart(line, at)) return at;
  return line.indexOf(letter, from);
}

function scoreLetters(line, letters, prefersStart) {
  let [at, sum] = [-1, 0];
  for (const letter of letters) {
    const position = findLetter(line, letter, at + 1, prefersStart && line[at + 1] !== letter);
    if (position < 0) return 0;
    sum += isStart(line, position) ? START_SCORE : position === at + 1 ? NEXT_SCORE : 1 / (position - at);
    at = position;
  }
  return sum / letters.length;
}

/** Rate a match: 0 without one, higher is better. */
export function scoreMatch(text, query) {
  const line = text.toLowerCase();
  const words = query.toLowerCase().trim();
  const letters = [...words.replaceAll(/\s+/g, "")];
  if (!letters.length) return 1;
  const best = Math.max(scoreLetters(line, letters, true), scoreLetters(line, letters, false));
  const position = line.indexOf(words);
  return best && best + (position < 0 ? 0 : isStart(line, position) ? WHOLE_SCORE : 1) - line.length / 1000;
}
