// Colours of terminals in a line of output. Nothing else of escape sequences is understood: no links, no cursor.
export interface Piece {
  text: string;
  class: string;
}

// eslint-disable-next-line no-control-regex
const SEQUENCE = /\x1b(?:\[([0-9;:]*)([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])/g;
// eslint-disable-next-line no-control-regex
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f]/g;
const MAX_PIECES = 500;

/** The pieces of a line, each with the classes of its colours. */
export function pieces(line: string): Piece[] {
  if (!line.includes("\x1b")) return [{ text: line.replace(CONTROL, ""), class: "" }];
  const found: Piece[] = [];
  let style = new Set<string>();
  let from = 0;
  const add = (text: string) => {
    const clean = text.replace(CONTROL, "");
    if (!clean) return;
    if (found.length >= MAX_PIECES) found.at(-1)!.text += clean;
    else found.push({ text: clean, class: [...style].join(" ") });
  };
  for (const match of line.matchAll(SEQUENCE)) {
    add(line.slice(from, match.index));
    from = match.index + match[0].length;
    if (match[2] !== "m") continue;
    style = styled(style, (match[1] || "0").split(/[;:]/).map(Number));
  }
  add(line.slice(from));
  return found;
}

function styled(style: Set<string>, codes: number[]): Set<string> {
  let next = new Set(style);
  for (let at = 0; at < codes.length; at += 1) {
    const code = codes[at]!;
    if (code === 0) next = new Set();
    else if (code >= 1 && code <= 4) next.add(`a${code}`);
    else if (code === 22) next.delete("a1"), next.delete("a2");
    else if (code === 38 || code === 48) at += codes[at + 1] === 5 ? 2 : 4;
    else if ((code >= 30 && code <= 37) || (code >= 90 && code <= 97)) {
      for (const each of [...next]) if (each[0] === "f") next.delete(each);
      next.add(`f${code < 90 ? code - 30 : code}`);
    } else if (code === 39) for (const each of [...next]) if (each[0] === "f") next.delete(each);
  }
  return next;
}

/** The text of a line without any escape sequence. */
export function plain(line: string): string {
  return line.replace(SEQUENCE, "").replace(CONTROL, "");
}
