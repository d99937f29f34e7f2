import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { cpusKeys, diskKeys, memoryKeys, netKeys, platformKeys, rngKeys } from './keys.ts'
import { type OptionKeys, type OptionObject, parseOption, printOption } from './options.ts'

function refuses(t: ExecutionContext, text: string, keys: OptionKeys, message: string): void {
  t.throws(() => parseOption('--x', text, keys), { code: 'ERR_OPTION_INVALID', message: `--x: ${message}` })
}

test('keys and values become fields', t => {
  t.deepEqual(parseOption('--disk', 'path=/a=b,readonly=on,queue_size=0x100', diskKeys), {
    ...{ path: '/a=b', readonly: true, queue_size: 256 },
  })
  t.deepEqual(parseOption('--net', 'tap=tap0,fd=[3,5-7],offload_tso=FALSE', netKeys), {
    ...{ tap: 'tap0', fds: [3, 5, 6, 7], offload_tso: false },
  })
})

test('sizes have units of 1024', t => {
  const sizes = ['0', '12', '1K', '512M', '3G', '2T', '1g'].map(
    size => parseOption('--memory', `size=${size}`, memoryKeys)['size'],
  )
  t.deepEqual(sizes, [0, 12, 2 ** 10, 2 ** 29, 3 * 2 ** 30, 2 ** 41, 2 ** 30])
})

test('lists, tuples and colons', t => {
  t.deepEqual(parseOption('--cpus', 'boot=4,topology=2:2:1:1,affinity=[0@[2,3],1@[4-6],2@7],features=amx', cpusKeys), {
    boot_vcpus: 4,
    topology: { threads_per_core: 2, cores_per_die: 2, dies_per_package: 1, packages: 1 },
    affinity: [
      { vcpu: 0, host_cpus: [2, 3] },
      { vcpu: 1, host_cpus: [4, 5, 6] },
      { vcpu: 2, host_cpus: [7] },
    ],
    features: { amx: true },
  })
  t.deepEqual(parseOption('--platform', 'oem_strings=[a,"b,c"],serial_number="x"', platformKeys), {
    ...{ oem_strings: ['a', 'b,c'], serial_number: 'x' },
  })
})

test('an empty value leaves the default', t => {
  t.deepEqual(parseOption('--net', 'tap=,mac=,ip=,mask=', netKeys), {})
})

test('unknown, doubled, missing and empty keys are refused', t => {
  refuses(t, 'pathh=a', diskKeys, 'unknown key pathh; did you mean path?')
  refuses(t, 'toString=a', diskKeys, 'unknown key toString')
  refuses(t, 'path=a,path=b', diskKeys, 'path: is there twice')
  refuses(t, 'readonly=on', diskKeys, 'path: is missing')
  refuses(t, 'path=', diskKeys, 'path: is missing')
  refuses(t, 'path=a,readonly', diskKeys, 'readonly: has no value')
  refuses(t, 'path=a,', diskKeys, 'an empty key')
  refuses(t, '', rngKeys, 'an empty key')
})

test('values of the wrong kind are refused', t => {
  refuses(t, 'boot=four', cpusKeys, 'boot: four is not a number')
  refuses(t, 'boot=-1', cpusKeys, 'boot: -1 is not a number')
  refuses(t, 'boot=9007199254740993', cpusKeys, 'boot: 9007199254740993 is beyond 2^53')
  refuses(t, 'size=1Q', memoryKeys, 'size: 1Q is not a size like 512M')
  refuses(t, 'size=9999999T', memoryKeys, 'size: 9999999T is beyond 2^53')
  refuses(t, 'thp=yes', memoryKeys, 'thp: yes is neither on nor off')
  refuses(t, 'topology=1:2', cpusKeys, 'topology: 1:2 is not threads:cores:dies:packages')
  refuses(t, 'affinity=[0]', cpusKeys, 'affinity: 0 is not of the form 0@[1,2]')
  refuses(t, 'affinity=[0@[3-1]]', cpusKeys, 'affinity: 3-1 is not a range')
  refuses(t, 'features=[mmx]', cpusKeys, 'features: unknown feature mmx; known are amx')
  refuses(t, 'path=a,image_type=iso', diskKeys, 'image_type: iso is none of raw, qcow2, vhd, vhdx, vmdk')
})

const text = fc.string({ minLength: 1 })
const whole = fc.nat()
const ids = fc.array(fc.record({ id: whole, cpus: fc.uniqueArray(fc.nat(4095)) }), { maxLength: 4 })

const objects: readonly { readonly keys: OptionKeys; readonly object: fc.Arbitrary<OptionObject> }[] = [
  {
    keys: cpusKeys,
    object: fc.record(
      {
        boot_vcpus: whole,
        topology: fc.record({
          threads_per_core: whole,
          cores_per_die: whole,
          dies_per_package: whole,
          packages: whole,
        }),
        affinity: ids.map(all => all.map(({ id, cpus }) => ({ vcpu: id, host_cpus: cpus }))),
        features: fc.record({ amx: fc.boolean() }),
        nested: fc.boolean(),
      },
      { requiredKeys: ['boot_vcpus'] },
    ),
  },
  {
    keys: memoryKeys,
    object: fc.record(
      { size: fc.maxSafeNat(), hugepage_size: fc.constantFrom(2 ** 21, 2 ** 30), shared: fc.boolean() },
      { requiredKeys: ['size'] },
    ),
  },
  {
    keys: diskKeys,
    object: fc.record(
      {
        ...{ path: text, readonly: fc.boolean(), queue_size: whole, serial: text },
        image_type: fc.constantFrom('Raw', 'Qcow2', 'FixedVhd'),
        queue_affinity: ids.map(all => all.map(({ id, cpus }) => ({ queue_index: id, host_cpus: cpus }))),
      },
      { requiredKeys: ['path'] },
    ),
  },
  {
    keys: netKeys,
    object: fc.record({ tap: text, mac: text, fds: fc.array(whole), mtu: whole }, { requiredKeys: ['tap'] }),
  },
  { keys: platformKeys, object: fc.record({ uuid: text, oem_strings: fc.array(fc.string()) }) },
]

test('parsing what was printed gives the same', t => {
  for (const { keys, object } of objects) {
    fc.assert(
      fc.property(object, wanted => {
        t.deepEqual(parseOption('--x', printOption(wanted, keys), keys), { ...wanted })
      }),
    )
  }
})
