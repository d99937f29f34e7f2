import test from 'ava'
import fc from 'fast-check'
import { addressMap, barAddress, deviceArea, lowBarAddress, memoryMap, memoryTypes, ramRanges } from './address-map.ts'

const mebibyte = 1024 * 1024
const gibibyte = 1024 * mebibyte
const aRamSize = fc.integer({ min: 8, max: 2 ** 21 }).map(chunks => chunks * 2 * mebibyte)

test('RAM up to the hole is one range', t => {
  t.deepEqual(ramRanges(512 * mebibyte), [{ guestAddress: 0, sizeBytes: 512 * mebibyte }])
  t.deepEqual(ramRanges(3 * gibibyte), [{ guestAddress: 0, sizeBytes: 3 * gibibyte }])
})

test('RAM that does not fit below the hole goes on at 4 GiB', t => {
  t.deepEqual(ramRanges(3 * gibibyte + 2 * mebibyte), [
    { guestAddress: 0, sizeBytes: 3 * gibibyte },
    { guestAddress: 4 * gibibyte, sizeBytes: 2 * mebibyte },
  ])
})

test('all RAM is placed, and none of it in the hole', t => {
  const property = fc.property(aRamSize, sizeBytes => {
    const ranges = ramRanges(sizeBytes)
    t.is(
      ranges.reduce((sum, range) => sum + range.sizeBytes, 0),
      sizeBytes,
    )
    for (const { guestAddress, sizeBytes: length } of ranges) {
      const end = guestAddress + length
      t.true(end <= addressMap.mmio32Start || guestAddress >= addressMap.ramAbove4Gib)
    }
  })
  fc.assert(property)
})

test('the device area is behind RAM and ends where the registers of the platform begin', t => {
  t.is(deviceArea(512 * mebibyte, 46).start, 4 * gibibyte)
  t.is(deviceArea(4 * gibibyte + 2 * mebibyte, 46).start, 6 * gibibyte)
  t.is(deviceArea(512 * mebibyte, 46).end, 0x3fff_fff0_0000)
})

test("the platform's registers and the BARs of its devices are where Cloud Hypervisor has them", t => {
  const area = deviceArea(512 * mebibyte, 46)
  t.deepEqual(area.platform, {
    ...{ first: 0x3fff_fff0_0000, last: 0x3fff_ffff_ffff },
    ...{ pciHotplug: 0x3fff_ffff_ffd8, ged: 0x3fff_ffff_ffc8 },
  })
  t.is(barAddress(area, 1), 0x3fff_ff80_0000)
  t.is(barAddress(area, 2), 0x3fff_ff00_0000)
  t.is(barAddress(area, 31), 0x3fff_f080_0000)
})

test('the least of device areas has room for a BAR in every slot', t => {
  const area = deviceArea(59 * gibibyte, 36)
  t.true(barAddress(area, 31) >= area.start)
})

test('every slot has a place below 4 GiB, too, between RAM and the configuration spaces', t => {
  t.is(lowBarAddress(1), 0xe780_0000)
  t.true(lowBarAddress(31) >= addressMap.mmio32Start)
})

test('RAM beyond the address bits is refused by name', t => {
  t.notThrows(() => deviceArea(59 * gibibyte, 36))
  const message = '--memory: size: 67645734912 bytes leave no room for devices in 36 address bits'
  t.throws(() => deviceArea(63 * gibibyte, 36), { code: 'ERR_MEMORY', message })
  t.throws(() => deviceArea(512 * mebibyte, 32), { code: 'ERR_MEMORY' })
})

test('the memory map of a small machine', t => {
  t.deepEqual(memoryMap(ramRanges(16 * mebibyte)), [
    { address: 0, sizeBytes: 0xa0000, type: memoryTypes.ram },
    { address: 0xe_e000, sizeBytes: 0x2000, type: memoryTypes.reserved },
    { address: 0x10_0000, sizeBytes: 15 * mebibyte, type: memoryTypes.ram },
    { address: 0xe800_0000, sizeBytes: 0x1000_0000, type: memoryTypes.reserved },
  ])
})

test('the memory map tells of all RAM but the window of the firmware tables, in order', t => {
  const window = addressMap.highRam - addressMap.rsdp
  const property = fc.property(aRamSize, sizeBytes => {
    const entries = memoryMap(ramRanges(sizeBytes))
    const usable = entries.filter(entry => entry.type === memoryTypes.ram)
    t.is(
      usable.reduce((sum, entry) => sum + entry.sizeBytes, 0),
      sizeBytes - window,
    )
    for (const [index, { address }] of entries.entries()) {
      const before = entries[index - 1]
      t.true(before === undefined || before.address + before.sizeBytes <= address)
    }
  })
  fc.assert(property)
})
