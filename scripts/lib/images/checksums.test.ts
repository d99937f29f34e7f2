import test from 'ava'
import { digestOf, findDigest } from './checksums.ts'

const sha256 = 'a1'.repeat(32)
const sha512 = 'b2'.repeat(64)

test('lists of every distribution are read', t => {
  const ubuntu = `${'0'.repeat(64)} *other.img\n${sha256} *jammy.img\n`
  t.deepEqual(findDigest(ubuntu, 'jammy.img'), { algorithm: 'sha256', hex: sha256 })
  const debian = `${sha512}  debian-12.qcow2\n${'0'.repeat(128)}  debian-12.qcow2.old\n`
  t.deepEqual(findDigest(debian, 'debian-12.qcow2'), { algorithm: 'sha512', hex: sha512 })
  const fedora = [
    '-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n',
    '# Fedora-Cloud.qcow2: 12 bytes',
    `SHA256 (Fedora-Cloud.qcow2) = ${sha256.toUpperCase()}`,
    '-----BEGIN PGP SIGNATURE-----\n',
  ].join('\r\n')
  t.deepEqual(findDigest(fedora, 'Fedora-Cloud.qcow2'), { algorithm: 'sha256', hex: sha256 })
})

test('a file that is not there, or there twice, has no digest', t => {
  t.throws(() => findDigest(`${sha256}  a`, 'b'), { message: 'no digest of b in the list of checksums' })
  t.throws(() => findDigest('<html>sign in</html>', 'a'), { message: /no digest/ })
  t.throws(() => findDigest(`${sha256}  a\n${'0'.repeat(64)}  a`, 'a'), { message: /^two digests of a/ })
  t.notThrows(() => findDigest(`${sha256}  a\n${sha256}  a`, 'a'))
  t.throws(() => findDigest(`${sha256.slice(2)}  a`, 'a'), { message: /no digest/ })
})

test('only digests of known length are digests', t => {
  t.is(digestOf('12'), undefined)
  t.is(digestOf('x'.repeat(64)), undefined)
  t.is(digestOf(sha512)?.algorithm, 'sha512')
})
