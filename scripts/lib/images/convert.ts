import { execFileSync } from 'node:child_process'

/**
 * Converts a downloaded image (qcow2 or raw, whatever its name) to raw. Throws for one that refers to other files: what they are
 * would be up to whoever made it.
 */
export function convertToRaw(image: string, out: string): void {
  const info: unknown = JSON.parse(run(['info', '--output=json', '--', image]))
  const field = (name: string): unknown =>
    typeof info === 'object' && info !== null ? Reflect.get(info, name) : undefined
  const format = field('format')
  if (format !== 'qcow2' && format !== 'raw') throw new Error(`${image}: is ${format}; qcow2 and raw are known`)
  const specific: unknown = Reflect.get(Object(field('format-specific')), 'data')
  if (field('backing-filename') !== undefined || Reflect.get(Object(specific), 'data-file') !== undefined) {
    throw new Error(`${image}: refers to another file`)
  }
  run(['convert', '-f', format, '-O', 'raw', '--', image, out])
}

function run(args: readonly string[]): string {
  try {
    return execFileSync('qemu-img', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT')
      throw new Error('qemu-img is missing; it is in the package qemu-utils', { cause })
    const said: unknown = cause instanceof Error && 'stderr' in cause ? cause.stderr : undefined
    throw new Error(
      String(said ?? cause)
        .trim()
        .split('\n')
        .at(-1),
      { cause },
    )
  }
}
