import test from 'ava'
import { Samples } from './report.ts'

test('the median of an even number of runs lies between the middle two', t => {
  const samples = new Samples()
  for (const value of [4, 1, 3, 2]) samples.add('boot_time', 'tsvmm', 's', 'lower', value)
  t.like(samples.report().results[0], { runs: 4, min: 1, median: 2.5, max: 4 })
})

test("ratios are ours over each peer, and over the best of them by the figure's own sense", t => {
  const samples = new Samples()
  samples.add('boot_time', 'tsvmm', 's', 'lower', 2)
  samples.add('boot_time', 'qemu-microvm', 's', 'lower', 8)
  samples.add('boot_time', 'cloud-hypervisor', 's', 'lower', 4)
  samples.add('iops', 'tsvmm', '1/s', 'higher', 300)
  samples.add('iops', 'qemu-q35', '1/s', 'higher', 200)
  samples.add('iops', 'cloud-hypervisor', '1/s', 'higher', 100)
  t.deepEqual(samples.report().ratios, [
    { name: 'boot_time', peer: 'qemu-microvm', value: 0.25 },
    { name: 'boot_time', peer: 'cloud-hypervisor', value: 0.5 },
    { name: 'boot_time', peer: 'best-peer', value: 0.5 },
    { name: 'iops', peer: 'qemu-q35', value: 1.5 },
    { name: 'iops', peer: 'cloud-hypervisor', value: 3 },
    { name: 'iops', peer: 'best-peer', value: 1.5 },
  ])
})
