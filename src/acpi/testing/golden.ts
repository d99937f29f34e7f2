import { readFileSync, writeFileSync } from 'node:fs'

/**
 * The frozen bytes of a table, from fixtures/acpi. Guests see these bytes: a change is meant or it is a fault. Once meant,
 * `UPDATE_GOLDENS=1 npx ava 'src/acpi/*.test.ts'` writes the new ones; `iasl -d` shows what the difference says.
 */
export function golden(name: string, actual: Uint8Array): Uint8Array {
  const path = new URL(`../../../fixtures/acpi/${name}.dat`, import.meta.url)
  if (process.env['UPDATE_GOLDENS'] === '1') writeFileSync(path, actual)
  return Uint8Array.from(readFileSync(path))
}
