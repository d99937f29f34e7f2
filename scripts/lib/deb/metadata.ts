/** What the package's files say of it, in Debian's forms (Debian Policy 4.7). */
export interface PackageDescription {
  readonly version: string
  /** Debian's name of the architecture. */
  readonly architecture: string
  readonly installedBytes: number
  readonly date: Date
}

const maintainer = 'tsvmm maintainers <maintainers@tsvmm.example.org>'

/**
 * As dpkg-shlibdeps finds them for the Node in it and the addon, which scripts/lib/portable.ts holds to that; then what makes the
 * user of the service.
 */
const depends = [
  ...['libc6 (>= 2.34)', 'libgcc-s1 (>= 4.2)', 'libstdc++6 (>= 10.2)'],
  'systemd | systemd-standalone-sysusers | systemd-sysusers',
]

export function control({ version, architecture, installedBytes }: PackageDescription): string {
  return `Package: tsvmm
Version: ${version}
Architecture: ${architecture}
Maintainer: ${maintainer}
Installed-Size: ${Math.ceil(installedBytes / 1024)}
Depends: ${depends.join(', ')}
Suggests: iproute2, qemu-utils
Section: admin
Priority: optional
Description: virtual machine monitor for KVM with snapshots, clones and migration
 tsvmm runs Linux guests on KVM. It takes the command line and serves the
 HTTP API of Cloud Hypervisor, for its clients as they are. Machines can be
 saved, restored, cloned and moved to another host while they run.
 .
 The package has the Node.js that it runs on inside, and a systemd service
 that runs a machine a configuration file.
`
}

export function changelog({ version, date }: PackageDescription): string {
  return `tsvmm (${version}) unstable; urgency=medium

  * What is new is in CHANGELOG.md.

 -- ${maintainer}  ${rfc5322(date)}
`
}

/** The machine-readable form (DEP 5); what is inside is licensed by its own authors, whose words are in NOTICES. */
export function copyright(year: number): string {
  return `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: tsvmm
Comment: /usr/lib/tsvmm/dist/NOTICES, /usr/lib/tsvmm/prebuilds/*/NOTICES and
 NODE-LICENSE here have the licences of libraries that are in the program, and
 of the Node.js beside it.

Files: *
Copyright: ${year} the tsvmm authors
License: Apache-2.0
 On Debian systems the full text of the Apache License 2.0 is in
 /usr/share/common-licenses/Apache-2.0.
`
}

/** What lintian finds and is meant so. */
export const lintianOverrides = `# Node.js and the addon run on other releases than the one that they were built on.
tsvmm: embedded-library zlib [usr/lib/tsvmm/node]
tsvmm: embedded-library zlib [usr/lib/tsvmm/prebuilds/*/tsvmm.node]
# The launcher is a few system calls at every start.
tsvmm: statically-linked-binary [usr/lib/tsvmm/dist/tsvmm]
# Node.js is as its project builds it.
tsvmm: hardening-no-pie [usr/lib/tsvmm/node]
`

/** The user of the service, as dh_installsysusers has it made. */
export const postinst = `#!/bin/sh
set -e
if [ "$1" = configure ] || [ "$1" = abort-upgrade ] || [ "$1" = abort-deconfigure ] || [ "$1" = abort-remove ]; then
  systemd-sysusers tsvmm.conf
fi
`

/** As date -R has it, in UTC. */
function rfc5322(date: Date): string {
  return date.toUTCString().replace('GMT', '+0000')
}
