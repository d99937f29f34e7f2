import { basename } from 'node:path'

/** What package.json says; the bundler puts it in. */
declare const TSVMM_VERSION: string | undefined
const version = typeof TSVMM_VERSION === 'undefined' ? '0.0.0-source' : TSVMM_VERSION

/**
 * What `--version` prints. Invoked by the name `cloud-hypervisor` the first line is the one that clients of that program
 * parse: they decide by it which features they may use.
 */
export function versionText(invokedAs: string): string {
  const own = `tsvmm v${version}`
  return basename(invokedAs) === 'cloud-hypervisor' ? `cloud-hypervisor v53.0\n${own}` : own
}
