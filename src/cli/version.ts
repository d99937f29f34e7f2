import { basename } from 'node:path'
import { packageVersion } from '../util/version.ts'

export const ownVersion = `tsvmm v${packageVersion}`

/** The version of Cloud Hypervisor whose flags and API these are: its clients decide by it which features they may use. */
const compatible = '53.0'
export const apiVersion = `${compatible}.0`

/** The name that the program was called by: the launcher's, or that of the bundle's file or of a link to it. */
export function invokedAs(): string {
  const called = process.argv0
  return basename(called).startsWith('node') ? (process.argv[1] ?? 'tsvmm') : called
}

/** Called by Cloud Hypervisor's name: what its clients read is written as it writes it. */
export function isStandIn(name = invokedAs()): boolean {
  return basename(name) === 'cloud-hypervisor'
}

/** What `--version` prints. Clients of Cloud Hypervisor parse the first line of it. */
export function versionText(name: string): string {
  return isStandIn(name) ? `cloud-hypervisor v${compatible}\n${ownVersion}` : ownVersion
}
