/** The grammar that options with structure share: `key=value,key=[a,b],key=[id@[1,2]],key="with, comma"`. */

/** Ends the parsing with what is wrong with the text. */
export type Refuse = (reason: string) => never

/** Cuts at commas outside of brackets and quotes; the parts keep theirs. Refuses one that is left open. */
export function splitList(text: string, refuse: Refuse): string[] {
  const parts: string[] = []
  let depth = 0
  let isQuoted = false
  let part = ''
  for (const character of text) {
    if (character === '"') isQuoted = !isQuoted
    else if (!isQuoted && character === '[') depth += 1
    else if (!isQuoted && character === ']') depth -= 1
    if (depth < 0) break
    if (character === ',' && depth === 0 && !isQuoted) {
      parts.push(part)
      part = ''
    } else part += character
  }
  if (isQuoted || depth !== 0) refuse(`${text}: a ${isQuoted ? 'quote' : 'bracket'} has no partner`)
  return [...parts, part]
}

/** The text without its quotes; a doubled one inside of quotes stands for itself. */
export function unquote(text: string): string {
  let result = ''
  let isQuoted = false
  for (let place = 0; place < text.length; place += 1) {
    const character = text[place] ?? ''
    if (character !== '"') result += character
    else if (isQuoted && text[place + 1] === '"') {
      result += '"'
      place += 1
    } else isQuoted = !isQuoted
  }
  return result
}

/** The text as a value that unquote() gives back, in quotes where it needs them. */
export function quote(text: string): string {
  return text === '' || /[,[\]"]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

/** The items between brackets; a single one needs no brackets. */
export function listItems(text: string, refuse: Refuse): string[] {
  if (!text.startsWith('[')) {
    if (splitList(text, refuse).length > 1) refuse(`${text} is not a list like [a,b]`)
    return [text]
  }
  if (!text.endsWith(']')) refuse(`${text} is not a list like [a,b]`)
  const inner = text.slice(1, -1)
  return inner === '' ? [] : splitList(inner, refuse)
}

/** `; did you mean X?` where one of the known words is near. */
export function hintFor(word: string, known: readonly string[]): string {
  const [nearest] = known.map(each => ({ each, away: distance(word, each) })).toSorted((a, b) => a.away - b.away)
  return nearest !== undefined && nearest.away <= 2 && word.length > 1 ? `; did you mean ${nearest.each}?` : ''
}

/** Levenshtein's: how many letters to change, add or leave out. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i]
    for (let j = 1; j <= b.length; j += 1) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}
