import { execa } from 'execa'

/** The C library of RHEL 9; Ubuntu 22.04 and Debian 12 have newer ones. */
const oldestGlibc = [2, 34] as const
/** What comes with it, and what Node itself cannot do without. */
const libraries = /^(libc|libm|libgcc_s|ld-linux[\w-]*)\.so\.\d+$/

/** Throws where a library would not load on a host that has what runs Node, and nothing else. */
export async function checkPortable(library: string): Promise<void> {
  const { stdout } = await execa('objdump', ['-p', library])
  const wrong = unportable(stdout)
  if (wrong.length > 0) throw new Error(`${library} needs ${wrong.join(', ')}: it would not load everywhere`)
}

/** What a host may not have of what is in the output of `objdump -p`. */
export function unportable(headers: string): string[] {
  const needed = [...headers.matchAll(/^ +NEEDED +(\S+)$/gm)].map(([, name = '']) => name)
  const versions = [...headers.matchAll(/ GLIBC_(\d+)\.(\d+)/g)].flatMap(([text, major, minor]) =>
    isNewer(Number(major), Number(minor)) ? [text.trim()] : [],
  )
  return [...needed.filter(name => !libraries.test(name)), ...new Set(versions)]
}

function isNewer(major: number, minor: number): boolean {
  const [oldMajor, oldMinor] = oldestGlibc
  return major > oldMajor || (major === oldMajor && minor > oldMinor)
}
