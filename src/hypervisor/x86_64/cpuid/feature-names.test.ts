import test from 'ava'
import { featureNames, featureWords, parseWordName } from './feature-names.ts'

test('bits have the names that people know', t => {
  const cases: readonly (readonly [string, number, string])[] = [
    ['0x1.0.edx', 26, 'sse2'],
    ['0x1.0.ecx', 5, 'vmx'],
    ['0x1.0.ecx', 30, 'rdrand'],
    ['0x7.0.ebx', 5, 'avx2'],
    ['0x7.0.ebx', 18, 'rdseed'],
    ['0x7.0.ebx', 31, 'avx512vl'],
    ['0x7.0.ecx', 3, 'pku'],
    ['0x7.0.ecx', 16, 'la57'],
    ['0x7.0.edx', 24, 'amx_tile'],
    ['0x7.0.edx', 31, 'ssbd'],
    ['0x7.1.eax', 26, 'lam'],
    ['0xd.0.eax', 9, 'xsave:pkru'],
    ['0x40000001.0.eax', 17, 'kvm_migration_control'],
    ['0x80000001.0.ecx', 2, 'svm'],
    ['0x80000001.0.edx', 31, '3dnow'],
    ['0x80000007.0.edx', 8, 'invariant_tsc'],
    ['0x80000008.0.ebx', 12, 'ibpb'],
    ['0x80000021.0.eax', 31, 'srso_bp_spec_reduce'],
  ]
  for (const [word, bit, name] of cases) t.deepEqual(featureNames(word, 1 << bit), [name], `${word} ${bit}`)
})

test('bits without a name are said by their place', t => {
  t.deepEqual(featureNames('0x7.0.ebx', (1 << 22) | (1 << 5)), ['avx2', '0x7.0.ebx bit 22'])
  t.deepEqual(featureNames('0x7.5.ebx', 1), ['0x7.5.ebx bit 0'])
})

test('no bit has two names, and a name stands for one thing', t => {
  const places = new Map<string, string>()
  for (const { name: word } of featureWords) {
    const all = featureNames(word, -1)
    t.is(all.length, 32, word)
    for (const name of all) {
      // AMD repeats bits of leaf 1 in its own.
      if (!word.startsWith('0x80000001')) t.false(places.has(name), `${word} ${name}, also ${places.get(name)}`)
      places.set(name, word)
    }
  }
})

test('words are known by name', t => {
  t.deepEqual(parseWordName('0x7.1.edx'), { name: '0x7.1.edx', leaf: 7, subleaf: 1, register: 'edx' })
  for (const none of ['', '7.0.ebx', '0x7.0', '0x7.0.rbx', '0x700000000.0.ebx']) t.is(parseWordName(none), undefined)
})
