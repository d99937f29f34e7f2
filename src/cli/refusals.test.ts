import test, { type ExecutionContext } from 'ava'
import { CommanderError } from 'commander'
import { TsvmmError } from '../util/errors.ts'
import { configOf } from './config.ts'
import { machineFlags, programFlags } from './flags.ts'
import { createProgram } from './program.ts'

/** Every flag with every key, in every way that can be wrong: what each of them says is one line with flag and key. */

/** `--disk <KEYS...>` without the rest. */
const nameOf = (flag: string) => flag.split(' ', 1)[0] ?? flag
const keyed = machineFlags.flatMap(({ flag, keys }) =>
  Object.entries(keys ?? {}).map(([key, entry]) => ({ flag: nameOf(flag), key, entry })),
)
const isList = (flag: string) => ['--disk', '--net', '--rate-limit-group'].includes(flag)

function parse(args: readonly string[]) {
  const flags = createProgram().parse(args, { from: 'user' }).opts()
  return configOf({ kernel: 'k', ...flags })
}

/** What a disk cannot be without. */
function withRequired(flag: string, key: string, text: string): string {
  if (flag === '--rate-limit-group' && key !== 'id') return `id=a,${text}`
  return flag === '--disk' && key !== 'path' ? `path=a,${text}` : text
}

function refusalOf(t: ExecutionContext, args: readonly string[]): TsvmmError | CommanderError {
  const error = t.throws(() => parse(args), undefined, args.join(' '))
  if (!(error instanceof TsvmmError) && !(error instanceof CommanderError)) throw error
  return error
}

function refuses(t: ExecutionContext, args: readonly string[], code: TsvmmError['code'], starts: string): void {
  const error = refusalOf(t, args)
  t.is(error.code, code)
  t.true(error.message.startsWith(starts), `${args.join(' ')}: ${error.message}`)
  t.false(error.message.includes('\n'), error.message)
}

for (const { flag } of [...machineFlags, ...programFlags]) {
  const name = nameOf(flag)
  if (!flag.includes('<')) continue
  test(`${name} without a value is refused`, t => {
    const error = refusalOf(t, [name])
    t.regex(error.message, new RegExp(`option '${name} .*argument missing`))
  })

  if (!isList(name)) {
    test(`${name} is refused where it is there twice`, t => {
      const error = refusalOf(t, [name, 'a', name, 'b'])
      t.regex(error.message, new RegExp(`option '${name} .*is invalid. It is there twice`))
    })
  }

  if (flag.includes('<PATH>')) {
    test(`an empty ${name} is refused`, t => {
      t.regex(refusalOf(t, [name, '']).message, new RegExp(`option '${name} .*is invalid. It is empty`))
    })
  }

  test(`a mistyped ${name} is refused`, t => {
    t.regex(refusalOf(t, [`${name}x`, 'a']).message, new RegExp(`unknown option '${name}x'`))
  })
}

for (const { flag, keys } of machineFlags.filter(each => each.keys !== undefined)) {
  const name = nameOf(flag)
  test(`${name} with an unknown, an empty or no key is refused`, t => {
    const [first = ''] = Object.keys(keys ?? {})
    refuses(t, [name, 'colour=red'], 'ERR_OPTION_INVALID', `${name}: unknown key colour`)
    refuses(t, [name, `${first}=1,`], 'ERR_OPTION_INVALID', `${name}: `)
    refuses(t, [name, ''], 'ERR_OPTION_INVALID', `${name}: an empty key`)
    refuses(t, [name, '=1'], 'ERR_OPTION_INVALID', `${name}: an empty key`)
    refuses(t, [name, `${first}=[1`], 'ERR_OPTION_INVALID', `${name}: ${first}=[1: a bracket has no partner`)
  })
}

test('every key is refused without a value and where it is there twice', t => {
  for (const { flag, key, entry } of keyed) {
    refuses(t, [flag, withRequired(flag, key, key)], 'ERR_OPTION_INVALID', `${flag}: ${key}: has no value`)
    const valid = validValue[entry.kind.form] ?? entry.kind.form.split('|', 1)[0]
    const twice = withRequired(flag, key, `${key}=${valid},${key}=${valid}`)
    refuses(t, [flag, twice], 'ERR_OPTION_INVALID', `${flag}: ${key}: is there twice`)
  }
})

test('every key with one letter too many is refused with the right one', t => {
  for (const { flag, key } of keyed) {
    const error = refusalOf(t, [flag, withRequired(flag, key, `${key}q=1`)])
    t.true(error.message.startsWith(`--${flag.slice(2)}: unknown key ${key}q; did you mean `), error.message)
  }
})

test('every key is refused with a value of another kind', t => {
  for (const { flag, key, entry } of keyed) {
    for (const wrong of wrongValues[entry.kind.form] ?? ['nonsense']) {
      const text = withRequired(flag, key, `${key}=${wrong}`)
      // What is left open is shown as it stands, all other values under their key.
      const isOpen = /^\[?"|^\[[^\]]*$/.test(wrong)
      refuses(t, [flag, text], 'ERR_OPTION_INVALID', isOpen ? `${flag}: ${text}: a ` : `${flag}: ${key}: `)
    }
  }
})

test('every key that there is no machinery for is refused where it asks for something', t => {
  for (const { flag, key, entry } of keyed.filter(each => each.entry.help === undefined)) {
    const asks = askingValue[key] ?? askingValue[entry.kind.form] ?? validValue[entry.kind.form] ?? 'a'
    // No value that there is asks for anything.
    if (key === 'profile' || key === 'lock_granularity') continue
    const text = withRequired(flag, key, `${key}=${asks}`)
    refuses(t, [flag, text], 'ERR_CONFIG_INVALID', `${flag}: ${entry.field}: is not supported yet`)
  }
})

test('every number and size is taken or refused by name at its ends', t => {
  for (const { flag, key, entry } of keyed.filter(each => ['N', 'SIZE'].includes(each.entry.kind.form))) {
    const beyond = entry.kind.form === 'N' ? ['4294967296'] : []
    for (const value of ['0', '1', ...beyond, String(Number.MAX_SAFE_INTEGER)]) {
      const args = [flag, withRequired(flag, key, `${key}=${value}`)]
      try {
        parse(args)
        t.true(takenAtTheEnds.has(`${flag} ${key}=${value}`), `${args.join(' ')} was taken`)
      } catch (error) {
        if (!(error instanceof TsvmmError)) throw error
        t.false(takenAtTheEnds.has(`${flag} ${key}=${value}`), error.message)
        // The API's name of a field is told where its type is wrong, the flag's where its value does not fit.
        const names = [key, entry.field].map(name => `${flag}: ${name}: `)
        t.true(
          names.some(name => error.message.startsWith(name)),
          error.message,
        )
      }
    }
  }
})

/** By the form of a kind. */
const validValue: Readonly<Record<string, string>> = {
  ...{ N: '1', SIZE: '2M', TEXT: 'a', PATH: 'a', '[TEXT,...]': '[a]', '[N,N-N,...]': '[7]', '[amx]': '[amx]' },
  'THREADS:CORES:DIES:PACKAGES': '1:1:1:1',
  '[VCPU@[CPU,...],...]': '[0@[0]]',
  '[QUEUE@[CPU,...],...]': '[0@[0]]',
  raw: 'raw',
}

/** What asks for a feature that is off otherwise, by key or form. */
const askingValue: Readonly<Record<string, string>> = {
  ...{
    'on|off': 'on',
    vfio_p2p_dma: 'off',
    num_pci_segments: '2',
    'vm|vcpu|off': 'vcpu',
    'full|byte-range': 'byte-range',
  },
  ...{ 'acpi|virtio-mem': 'virtio-mem', vhost_mode: 'server' },
}

/** Any text without an open quote is right where text is asked for. */
const openQuote = ['"a']
const wrongValues: Readonly<Record<string, readonly string[]>> = {
  ...{ TEXT: openQuote, PATH: openQuote, '[TEXT,...]': ['"a', '[a'] },
  N: ['x', '-1', '1.5', '1e3', '0x', ' 1', '9007199254740993'],
  SIZE: ['x', '-1M', '1.5G', '1Q', 'M', '99999999T'],
  'on|off': ['yes', '1', 'onoff'],
  'THREADS:CORES:DIES:PACKAGES': ['1', '1:1:1', '1:1:1:1:1', '1:1:1:x', ':::'],
  '[N,N-N,...]': ['x', '[x]', '[3-1]', '[1-2-3]', '[0-99999999]', '[1'],
  '[VCPU@[CPU,...],...]': ['0', '[0]', '[x@[0]]', '[0@[x]]', '[0@1@2]'],
  '[QUEUE@[CPU,...],...]': ['0', '[0]', '[x@[0]]', '[0@[x]]', '[0@1@2]'],
  '[amx]': ['mmx', '[amx,mmx]', '[amx'],
}

/** Everything else is refused: nought, or more than there can be. */
const takenAtTheEnds: ReadonlySet<string> = new Set([
  ...['--cpus boot=1', '--cpus max=1', '--disk num_queues=1', '--disk pci_segment=0', '--net pci_segment=0'],
  ...['--disk pci_device_id=1', '--net pci_device_id=1', '--rng pci_device_id=1', '--rng pci_segment=0'],
  ...['--disk', '--net', '--rate-limit-group'].flatMap(flag =>
    ['bw', 'ops'].flatMap(key => [
      ...[`${flag} ${key}_size=0`, `${flag} ${key}_one_time_burst=0`],
      ...[`${flag} ${key}_refill_time=0`, `${flag} ${key}_refill_time=1`],
    ]),
  ),
  ...['--memory hotplug_size=0', '--memory hotplugged_size=0', '--platform num_pci_segments=1'],
])
