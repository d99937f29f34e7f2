import { basename } from 'node:path'
import { packageVersion } from '../util/version.ts'

export const ownVersion = `tsvmm v${packageVersion}`

/** The version of Cloud Hypervisor whose flags and API these are: its clients decide by it which features they may use. */
const compatible = '53.0'
export const apiVersion = `${compatible}.0`

/**
 * What `--version` prints. Invoked by the name `cloud-hypervisor` the first line is the one that clients of that program
 * parse.
 */
export function versionText(invokedAs: string): string {
  return basename(invokedAs) === 'cloud-hypervisor' ? `cloud-hypervisor v${compatible}\n${ownVersion}` : ownVersion
}
