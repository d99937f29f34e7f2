import type { ChosenLocal, LocalCommand } from './local-commands.ts'

/** Returns the exit code. */
export async function runLocal(name: LocalCommand['name'], chosen: ChosenLocal): Promise<number> {
  switch (name) {
    case 'ps':
      return (await import('./ps.ts')).runPs(chosen)
    case 'top':
      return await (await import('./top.ts')).runTop(chosen)
    case 'console':
      return await (await import('./console.ts')).runConsole(chosen)
  }
}
