import test from 'ava'
import { pciHeader } from '../pci/config-space.ts'
import { aBoard } from './testing/board.ts'
import { FakeDevice } from './testing/fake-device.ts'

function aFunction(type = 4) {
  const { driver } = aBoard(new FakeDevice({ type }))
  driver.pci.enable(true)
  return driver.pci
}

test('it is a modern virtio function, whose class follows its type', t => {
  for (const [type, device, baseClass] of [
    [1, 0x1041, 0x0200],
    [2, 0x1042, 0x0180],
    [4, 0x1044, 0xffff],
  ] as const) {
    const pci = aFunction(type)
    t.is(pci.read(pciHeader.vendor, 2), 0x1af4)
    t.is(pci.read(pciHeader.device, 2), device)
    t.is(pci.read(pciHeader.subclass, 2), baseClass)
    t.is(pci.read(pciHeader.revision, 1), 1, '§4.1.2.1: modern devices have revision 1 or higher')
    t.is(pci.read(0x3d, 1), 0, 'no interrupt pin')
  }
})

test('capabilities name the structures in Cloud Hypervisor’s order and places', t => {
  const pci = aFunction()
  const all = pci.capabilities()
  t.deepEqual(
    all.map(({ id, offset }) => [id, id === 0x09 ? pci.read(offset + 3, 1) : 0]),
    [
      [0x09, 1],
      [0x09, 3],
      [0x09, 4],
      [0x09, 2],
      [0x09, 5],
      [0x11, 0],
    ],
  )
  t.deepEqual(
    all.slice(0, 5).map(({ offset }) => [2, 4, 8, 12].map(field => pci.read(offset + field, field < 8 ? 1 : 4))),
    [
      [16, 0, 0, 56],
      [16, 0, 0x2000, 1],
      [16, 0, 0x4000, 0x1000],
      [20, 0, 0x6000, 0x1000],
      [20, 0, 0, 0],
    ],
  )
  t.is(pci.sizeBar(0), 0x8_0000n)
})
