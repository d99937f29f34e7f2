import { concatenate, consecutive, Layout, writeUint } from '../util/bytes.ts'
import { TsvmmError } from '../util/errors.ts'
import { mixedEndianUuid } from '../util/uuid.ts'
import { checksumOf } from './table.ts'

/** What the owner of a machine says of it. An empty string is as good as none. */
export interface SmbiosDescription {
  readonly manufacturer?: string | undefined
  readonly productName?: string | undefined
  readonly version?: string | undefined
  readonly serialNumber?: string | undefined
  /** Hexadecimal digits, with hyphens at 8-4-4-4-12 or without; none is all zeros, "not set". */
  readonly uuid?: string | undefined
  readonly skuNumber?: string | undefined
  readonly family?: string | undefined
  readonly chassisAssetTag?: string | undefined
  readonly oemStrings?: readonly string[] | undefined
}

export interface SmbiosPlacement {
  readonly address: number
  /** One past the last address that the tables may use. */
  readonly end: number
}

/** Cloud Hypervisor's, by which programs in a guest know where they are. */
const defaults = { manufacturer: 'Cloud Hypervisor', productName: 'cloud-hypervisor' } as const
/** From 2023 on guests trust the resources that a platform describes without looking into its memory map. */
const firmwareStrings = ['cloud-hypervisor', '0', '01/01/2026'] as const

const majorVersion = 3
const minorVersion = 2
const entryPointRevision = 1
const structureTypes = { firmware: 0, system: 1, chassis: 3, oemStrings: 11, end: 127 } as const
const unknown = 2
const wakeUpByPowerSwitch = 6
const noSecurity = 3
const notReported = 0xff
const pciIsSupported = 1 << 7
const acpiIsSupported = 1 << 0
const isVirtualMachine = 1 << 4

/** Layouts of SMBIOS 3.2 (DSP0134) §5.2.2 and §7, of the structures without their header. */
const headerBytes = 4
const entryPoint = new Layout(0x18, {
  ...consecutive(['checksum', 'length', 'major', 'minor', 'documentRevision', 'revision'], 1, 5),
  maximumBytes: { offset: 0x0c, width: 4 },
  address: { offset: 0x10, width: 8 },
})
const firmware = new Layout(0x1a - headerBytes, {
  ...consecutive(['vendor', 'version'], 1, 0x00),
  date: { offset: 0x04, width: 1 },
  characteristics: { offset: 0x06, width: 8 },
  ...consecutive(['extension1', 'extension2', 'major', 'minor', 'controllerMajor', 'controllerMinor'], 1, 0x0e),
})
const system = new Layout(0x1b - headerBytes, {
  ...consecutive(['manufacturer', 'productName', 'version', 'serialNumber'], 1, 0x00),
  ...consecutive(['wakeUpType', 'skuNumber', 'family'], 1, 0x14),
})
const systemUuidOffset = 0x04
const chassis = new Layout(0x16 - headerBytes, {
  ...consecutive(['manufacturer', 'type', 'version', 'serialNumber', 'assetTag'], 1, 0x00),
  ...consecutive(['bootUpState', 'powerSupplyState', 'thermalState', 'securityStatus'], 1, 0x05),
})

/** Structures are aligned for the sake of readers; the specification asks for nothing. */
const structuresOffset = 0x20

/**
 * The SMBIOS 3 entry point and behind it the structures of types 0, 1, 3, 11 and 127, to be written at the place's address.
 * Throws ERR_CONFIG_INVALID for texts that no table can hold and ERR_RESOURCE_EXHAUSTED where they take too much room.
 */
export function smbios(description: SmbiosDescription, { address, end }: SmbiosPlacement): Uint8Array<ArrayBuffer> {
  const structures = structureTable(description)
  const sizeBytes = structuresOffset + structures.length
  if (address + sizeBytes > end) {
    const reason = `--platform's texts make it ${sizeBytes} bytes of ${end - address}`
    throw new TsvmmError('ERR_RESOURCE_EXHAUSTED', { what: 'room for the SMBIOS table', reason })
  }
  const entry = entryPoint.encode({
    length: entryPoint.sizeBytes,
    major: majorVersion,
    minor: minorVersion,
    revision: entryPointRevision,
    maximumBytes: structures.length,
    address: address + structuresOffset,
  })
  entry.set(Buffer.from('_SM3_', 'latin1'), 0)
  entryPoint.write(entry, { checksum: checksumOf(entry) })
  return concatenate([entry, new Uint8Array(structuresOffset - entry.length), structures])
}

function structureTable(description: SmbiosDescription): Uint8Array<ArrayBuffer> {
  const structures = new StructureList()
  addFirmware(structures)
  addSystem(structures, description)
  addChassis(structures, description.chassisAssetTag)
  addOemStrings(structures, description.oemStrings ?? [])
  structures.add(structureTypes.end, new Uint8Array(0), [])
  return structures.encode()
}

function addFirmware(structures: StructureList): void {
  const [vendor, version, date] = [1, 2, 3]
  const characteristics = { characteristics: pciIsSupported, extension1: acpiIsSupported, extension2: isVirtualMachine }
  const releases = {
    major: notReported,
    minor: notReported,
    controllerMajor: notReported,
    controllerMinor: notReported,
  }
  const formatted = firmware.encode({ vendor, version, date, ...characteristics, ...releases })
  structures.add(structureTypes.firmware, formatted, firmwareStrings)
}

function addSystem(structures: StructureList, description: SmbiosDescription): void {
  const strings = new StringSet()
  const formatted = system.encode({
    manufacturer: strings.add('system_manufacturer', description.manufacturer || defaults.manufacturer),
    productName: strings.add('system_product_name', description.productName || defaults.productName),
    version: strings.add('system_version', description.version),
    serialNumber: strings.add('serial_number', description.serialNumber),
    wakeUpType: wakeUpByPowerSwitch,
    skuNumber: strings.add('system_sku_number', description.skuNumber),
    family: strings.add('system_family', description.family),
  })
  if (description.uuid !== undefined && description.uuid !== '') {
    const bytes = mixedEndianUuid(description.uuid)
    if (bytes === undefined) refuse('uuid', `${JSON.stringify(description.uuid)} is not a UUID`)
    formatted.set(bytes, systemUuidOffset)
  }
  structures.add(structureTypes.system, formatted, strings.texts)
}

function addChassis(structures: StructureList, assetTag: string | undefined): void {
  const strings = new StringSet()
  const states = { bootUpState: unknown, powerSupplyState: unknown, thermalState: unknown, securityStatus: noSecurity }
  const formatted = chassis.encode({
    manufacturer: strings.add('system_manufacturer', defaults.manufacturer),
    type: unknown,
    assetTag: strings.add('chassis_asset_tag', assetTag),
    ...states,
  })
  structures.add(structureTypes.chassis, formatted, strings.texts)
}

function addOemStrings(structures: StructureList, texts: readonly string[]): void {
  if (texts.length === 0) return
  const strings = new StringSet()
  for (const text of texts) {
    if (text === '') refuse('oem_strings', 'a string is empty')
    strings.add('oem_strings', text)
  }
  structures.add(structureTypes.oemStrings, Uint8Array.of(texts.length), strings.texts)
}

/** The strings of one structure, which its fields name by number (§6.1.3). */
class StringSet {
  readonly texts: string[] = []

  /** Its number, 0 for none. `option` is the key of --platform that the text comes from. */
  add(option: string, text: string | undefined): number {
    if (text === undefined || text === '') return 0
    if (text.includes('\0')) refuse(option, 'contains a NUL')
    if (this.texts.length === 0xff) refuse(option, 'there are more than 255 strings')
    return this.texts.push(text)
  }
}

/** Structures one after the other, with handles in order. */
class StructureList {
  readonly #parts: Uint8Array[] = []
  #nextHandle = 1

  add(type: number, formatted: Uint8Array, strings: readonly string[]): void {
    const header = Uint8Array.of(type, headerBytes + formatted.length, 0, 0)
    writeUint(header, 2, 2, this.#nextHandle++)
    const texts = strings.map(text => `${text}\0`).join('')
    // The set ends with an empty string; an empty set is two of them.
    const stringSet = Buffer.from(texts === '' ? '\0\0' : `${texts}\0`, 'utf8')
    this.#parts.push(header, formatted, stringSet)
  }

  encode(): Uint8Array<ArrayBuffer> {
    return concatenate(this.#parts)
  }
}

function refuse(option: string, reason: string): never {
  throw new TsvmmError('ERR_CONFIG_INVALID', { option: '--platform', reason: `${option}: ${reason}` })
}
