import test from 'ava'
import fc from 'fast-check'
import { formatMigrationAddress, parseMigrationAddress } from './addresses.ts'

const code = 'ERR_MIGRATION_ADDRESS'

test('addresses of the network and paths are read', t => {
  t.deepEqual(parseMigrationAddress('tcp:host.example:9000'), { kind: 'tcp', host: 'host.example', port: 9000 })
  t.deepEqual(parseMigrationAddress('tcp:192.0.2.1:1'), { kind: 'tcp', host: '192.0.2.1', port: 1 })
  t.deepEqual(parseMigrationAddress('tcp:[2001:db8::1]:65535'), { kind: 'tcp', host: '2001:db8::1', port: 65535 })
  t.deepEqual(parseMigrationAddress('tcp:[fe80::1%eth0]:1'), { kind: 'tcp', host: 'fe80::1%eth0', port: 1 })
  t.deepEqual(parseMigrationAddress('tcp:0.0.0.0:0', 0), { kind: 'tcp', host: '0.0.0.0', port: 0 })
  t.deepEqual(parseMigrationAddress('unix:/run/a:b.sock'), { kind: 'unix', path: '/run/a:b.sock' })
})

test('what is no address says why not', t => {
  const wrong = [
    ['', /is neither tcp:HOST:PORT nor unix:\/PATH/],
    ['file:///x', /is neither/],
    ['/run/x', /is neither/],
    ['unix:run/x', /the path is not absolute/],
    ['unix:', /the path is not absolute/],
    [`unix:/${'x'.repeat(107)}`, /longer than 107 bytes/],
    ['unix:/a\0b', /zero byte/],
    ['tcp:host', /is not tcp:HOST:PORT/],
    ['tcp:::1:5', /stands in \[brackets\]/],
    ['tcp::5', /has no host/],
    ['tcp:[]:5', /has no host/],
    ['tcp:[host]:5', /host is not an IPv6 address/],
    ['tcp:host:0', /the port must be 1 to 65535/],
    ['tcp:host:65536', /the port must be 1 to 65535/],
    ['tcp:host:-1', /is not tcp:HOST:PORT/],
  ] as const
  for (const [url, message] of wrong) t.throws(() => parseMigrationAddress(url), { code, message })
})

test('what is written is read again', t => {
  const address = fc.oneof(
    fc.record({
      kind: fc.constant('tcp' as const),
      host: fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain()),
      port: fc.integer({ min: 1, max: 0xffff }),
    }),
    fc.record({ kind: fc.constant('unix' as const), path: fc.stringMatching(/^\/[a-z:[\]/]{0,80}$/) }),
  )
  fc.assert(fc.property(address, each => t.deepEqual(parseMigrationAddress(formatMigrationAddress(each)), each)))
})
