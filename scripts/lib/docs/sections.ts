/** The documents in the order in which the site has them; every one is in here (site.test.ts). */
export const sections: readonly { readonly title: string; readonly paths: readonly string[] }[] = [
  {
    title: 'Guide',
    paths: [
      'README.md',
      'docs/guides/installing.md',
      'docs/guides/disks.md',
      'docs/guides/rate-limits.md',
      'docs/guides/hotplug.md',
      'docs/guides/snapshots.md',
      'docs/guides/clones.md',
      'docs/guides/migration.md',
      'docs/guides/cloud-images.md',
      'docs/guides/firmware.md',
      'docs/guides/cpu-templates.md',
    ],
  },
  {
    title: 'Reference',
    paths: [
      'docs/reference/cli.md',
      'docs/reference/console.md',
      'docs/reference/api.md',
      'docs/reference/openapi.md',
      'docs/reference/library.md',
      'docs/reference/devices.md',
      'docs/reference/snapshot-format.md',
      'docs/migration-protocol.md',
    ],
  },
  {
    title: 'Project',
    paths: [
      'CHANGELOG.md',
      'docs/stability.md',
      'docs/releasing.md',
      'docs/building.md',
      'CONTRIBUTING.md',
      'docs/architecture.md',
      'docs/guides/lab.md',
      'docs/guides/benchmarks.md',
    ],
  },
]

/** Decisions come behind the rest, by number. */
export const decisions = 'docs/adr/'
