import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** What each thread of a process waits for, and of the processes that it has started: a line each, by the kernel's names. */
export function standingOf(pid: number): string[] {
  const place = `/proc/${pid}/task`
  return listing(place).flatMap(thread => {
    const [name, symbol, call, children] = ['comm', 'wchan', 'syscall', 'children'].map(file =>
      contents(join(place, thread, file)),
    )
    const line = `${pid} ${thread} ${name}: ${symbol || 'runs'}, system call ${call?.split(' ', 1)[0] || 'none'}`
    return [line, ...(children ?? '').split(' ').filter(Boolean).map(Number).flatMap(standingOf)]
  })
}

/** Those that are gone by then have nothing. */
function listing(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

function contents(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return ''
  }
}
