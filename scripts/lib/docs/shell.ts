import { parse } from 'shell-quote'

/** A simple command of a shell: its words, without variables before it, redirections and what comes after `|`, `&` and `;`. */
export type Command = readonly string[]

/** The commands of a block of shell text. What the shell would expand is left as it stands there. */
export function commandsOf(text: string): Command[] {
  const joined = text.replaceAll(/\\\n\s*/g, ' ')
  return joined.split('\n').flatMap(line => commandsOfLine(withoutPrompt(line)))
}

/** `there$ tsvmm ...` says on which host it is. */
function withoutPrompt(line: string): string {
  return line.replace(/^\w*\$ /, '')
}

function commandsOfLine(line: string): Command[] {
  const commands: string[][] = [[]]
  let isTarget = false
  for (const word of parse(line, name => `$${name}`)) {
    if (typeof word === 'string') {
      if (!isTarget) commands.at(-1)?.push(word)
      isTarget = false
    } else if ('pattern' in word) commands.at(-1)?.push(word.pattern)
    else if ('comment' in word) break
    else if (/[<>]/.test(word.op)) isTarget = true
    else commands.push([])
  }
  return commands.map(withoutVariables).filter(words => words.length > 0)
}

function withoutVariables(words: readonly string[]): Command {
  const first = words.findIndex(word => !/^\w+=/.test(word))
  return first < 0 ? [] : words.slice(first)
}
