import test from 'ava'
import { receiveMigrationSchema, receiveRequest, sendMigrationSchema, sendRequest } from './migration-requests.ts'

/** As Cloud Hypervisor's client writes them. */
const theirs = {
  send: {
    ...{
      destination_url: 'tcp:10.0.0.2:4711',
      local: false,
      preserve_source: false,
      downtime_ms: 300,
      timeout_s: 3600,
    },
    ...{ timeout_strategy: 'Cancel', connections: 1, tls_dir: null, memory_mode: 'Precopy' },
  },
  receive: {
    ...{ receiver_url: 'tcp:0.0.0.0:4711', tls_dir: null, memory_mode: 'Precopy', vfio_fds: null, iommufd_fd: null },
    zone_updates: [],
  },
} as const

const sending = (body: object) => sendRequest(sendMigrationSchema.parse(body))
const receiving = (body: object) => receiveRequest(receiveMigrationSchema.parse(body))

test('requests of Cloud Hypervisor’s client mean what it means', t => {
  t.deepEqual(sending(theirs.send), {
    url: 'tcp:10.0.0.2:4711',
    waits: true,
    options: {
      ...{ preserve: false, atTimeout: 'cancel', timeoutMs: 3_600_000, downtimeMs: 300, connections: 1 },
      postcopy: 'never',
    },
  })
  t.deepEqual(receiving(theirs.receive), { url: 'tcp:0.0.0.0:4711', options: { tscRate: 'keep' } })
})

test('what is not said is left to the migration', t => {
  t.deepEqual(sending({ destination_url: 'unix:/a' }).options, { preserve: false, atTimeout: 'cancel' })
})

test('all of ours is heard', t => {
  const { options, waits } = sending({
    ...{ destination_url: 'unix:/a', timeout_strategy: 'Ignore', bandwidth: 1000, throttle: 0, delta_cache: 4096 },
    ...{ peer_timeout_ms: 500, resolve_timeout_s: 7, wait: false, memory_mode: 'Auto', tls_dir: '/tls' },
  })
  t.false(waits)
  t.deepEqual(options, {
    ...{ preserve: false, atTimeout: 'cut-over', resolveMs: 7000, bytesPerSecond: 1000, mostThrottlePercent: 0 },
    ...{ deltaBytes: 4096, peerTimeoutMs: 500, postcopy: 'if-needed', tlsDir: '/tls' },
  })
  t.is(receiving({ ...theirs.receive, tls_dir: '/tls' }).options.tlsDir, '/tls')
  t.deepEqual(receiving({ receiver_url: 'unix:/a', tsc_rate: 'Host', overrides: { disks: { a: { path: '/b' } } } }), {
    url: 'unix:/a',
    options: { tscRate: 'host', overrides: { disks: { a: { path: '/b' } } } },
  })
})

test('a machine is handed over where that is said', t => {
  t.true(sending({ destination_url: 'unix:/a', local: true }).options.isLocal)
  t.is(sending({ destination_url: 'unix:/a', local: false }).options.isLocal, undefined)
})

test('what is not there is refused by name', t => {
  const code = 'ERR_NOT_SUPPORTED'
  t.throws(() => receiving({ ...theirs.receive, vfio_fds: [{}] }), { code, message: /vfio_fds/ })
  t.false(sendMigrationSchema.safeParse({ destination_url: 'unix:/a', conections: 2 }).success)
  t.false(sendMigrationSchema.safeParse({ destination_url: 'unix:/a', connections: 129 }).success)
})
