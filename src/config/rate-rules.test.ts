import test, { type ExecutionContext } from 'ava'
import { parseVmConfig } from './vm-config.ts'

const payload = { kernel: '/k' }

function refuses(t: ExecutionContext, config: object, message: string): void {
  t.throws(() => parseVmConfig({ payload, ...config }), { code: 'ERR_CONFIG_INVALID', message })
}

test('a disk belongs to a group that there is, or has limits of its own', t => {
  const bandwidth = { size: 1000, refill_time: 100 }
  const group = { id: 'slow', rate_limiter_config: { bandwidth } }
  const disk = { path: 'a', rate_limit_group: 'slow' }
  t.is(parseVmConfig({ payload, disks: [disk], rate_limit_groups: [group] }).disks[0]?.rate_limit_group, 'slow')
  refuses(t, { disks: [disk] }, '--disk: rate_limit_group: there is no --rate-limit-group slow')
  const both = { ...disk, rate_limiter_config: {} }
  const message = '--disk: rate_limit_group: cannot be given together with limits of its own'
  refuses(t, { disks: [both], rate_limit_groups: [group] }, message)
  refuses(t, { rate_limit_groups: [group, group] }, '--rate-limit-group: id: slow is there twice')
})

test('a size needs a time, and a burst a size; a size of 0 is no limit', t => {
  const withOps = (ops: object) => ({ net: [{ rate_limiter_config: { ops } }] })
  refuses(t, withOps({ size: 1 }), '--net: ops_size: needs ops_refill_time')
  refuses(t, withOps({ one_time_burst: 1, refill_time: 1 }), '--net: ops_one_time_burst: needs ops_size')
  refuses(t, withOps({ size: -1 }), '--net: rate_limiter_config.ops.size: must be at least 0')
  refuses(t, withOps({ size: 1.5 }), '--net: rate_limiter_config.ops.size: must be of type int')
  refuses(
    t,
    withOps({ size: 1, refill_time: 2 ** 32 }),
    '--net: rate_limiter_config.ops.refill_time: must be at most 4294967295',
  )
  t.notThrows(() => parseVmConfig({ payload, ...withOps({ size: 0, one_time_burst: null, refill_time: 100 }) }))
})

test('what clients write for no limit is none', t => {
  const { disks } = parseVmConfig({ payload, disks: [{ path: 'a', rate_limiter_config: { bandwidth: null } }] })
  t.deepEqual(disks[0]?.rate_limiter_config, {})
})
