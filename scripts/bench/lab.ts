import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'

/** Peers that are not in the lab's own root, by the variable that names their program. */
const peerVariables = ['CLOUD_HYPERVISOR', 'FIRECRACKER']
const peersMount = '/run/peers'
/** Firecracker does not run where KVM has no XCR0; what guests make of that one is theirs to bear, and harmless without AVX. */
const processorWithXsave = 'EPYC-Rome,+svm,+npt,-avx,-avx2,-fma,-f16c'

/** Runs a benchmark in the nested lab, with the peers' programs on a disk of their own; returns its exit code. */
export async function runInLab(benchmark: readonly string[], runs: number, json: string | undefined): Promise<number> {
  const directory = mkdtempSync(join(tmpdir(), 'tsvmm-bench-'))
  try {
    const peers = peerVariables.filter(variable => process.env[variable])
    const image = peers.length === 0 ? undefined : await peersImage(directory, peers)
    const script = [
      ...(image === undefined ? [] : [`mkdir -p ${peersMount} && mount -o ro /dev/vde ${peersMount}`]),
      ...peers.map(variable => `export ${variable}=${peersMount}/${variable}`),
      `exec node scripts/bench/bench.ts ${benchmark.join(' ')} --in-place --runs ${runs} --json "$LAB_OUT/report.json"`,
    ]
    const out = join(directory, 'out')
    const disk = image === undefined ? [] : ['--disk', image]
    const processor = peers.includes('FIRECRACKER') ? ['--processor', processorWithXsave] : []
    const lab = await execa(
      'scripts/lab',
      ['--parallel', ...processor, ...disk, '--out', out, '--', 'bash', '-ec', script.join('\n')],
      {
        stdio: 'inherit',
        reject: false,
      },
    )
    const report = join(out, 'report.json')
    if (json !== undefined && existsSync(report)) copyFileSync(report, json)
    return lab.exitCode ?? 1
  } finally {
    rmSync(directory, { recursive: true })
  }
}

async function peersImage(directory: string, variables: readonly string[]): Promise<string> {
  const content = join(directory, 'peers')
  mkdirSync(content)
  for (const variable of variables) copyFileSync(process.env[variable] ?? '', join(content, variable))
  const image = join(directory, 'peers.img')
  await execa('mke2fs', ['-q', '-t', 'ext4', '-d', content, '-F', image, '256M'])
  return image
}
