import test from 'ava'
import { holdsItsState, moveState } from '../state/testing/round-trip.ts'
import { type BlkOptions, blkFeatures, VirtioBlk } from './blk.ts'
import { deviceStatus } from './common-config.ts'
import { commonFeatures } from './device.ts'
import { aBoard } from './testing/board.ts'
import { FakeBackend } from './testing/fake-backend.ts'
import { FakeLimiter } from './testing/fake-limiter.ts'

const { version1 } = commonFeatures
const writebackOffset = 32

function aDisk(options: Partial<BlkOptions> = {}) {
  const backend = new FakeBackend()
  let closed = 0
  const board = aBoard(
    new VirtioBlk({
      ...{ name: '_disk0', sizeBytes: 10 * 2 ** 20 + 511, logicalBlockBytes: 512, physicalBlockBytes: 4096 },
      ...{ isReadOnly: false, queues: 1, queueSize: 128, canDiscard: true, canWriteZeroes: true },
      createBackend: backend.serveFailures,
      closeDisk: () => {
        closed += 1
      },
      claimDisk: () => {},
      cedeDisk: async () => {},
      diskDescriptor: () => -1,
      ...options,
    }),
  )
  board.driver.pci.enable(true)
  const offers = (feature: bigint) => (board.driver.offeredFeatures() & feature) !== 0n
  return { ...board, backend, offers, closed: () => closed }
}

test('the configuration has the layout of §5.2.4', t => {
  const { device, driver } = aDisk({ queues: 4 })
  t.is(device.type, 2)
  t.is(driver.readConfig(0, 4), 20_480, 'capacity, in whole sectors of 512 bytes')
  t.is(driver.readConfig(4, 4), 0)
  t.is(driver.readConfig(8, 4), 0, 'size_max')
  t.is(driver.readConfig(12, 4), 126, 'seg_max: header and status take two of 128')
  t.is(driver.readConfig(16, 4), 0, 'geometry')
  t.is(driver.readConfig(20, 4), 512, 'blk_size')
  t.is(driver.readConfig(24, 1), 3, 'physical_block_exp')
  t.is(driver.readConfig(25, 1), 0, 'alignment_offset')
  t.is(driver.readConfig(26, 2), 8, 'min_io_size')
  t.is(driver.readConfig(28, 4), 0, 'opt_io_size')
  t.is(driver.readConfig(32, 1), 1, 'writeback')
  t.is(driver.readConfig(34, 2), 4, 'num_queues')
  t.is(driver.readConfig(36, 4), 0x40_0000, 'max_discard_sectors')
  t.is(driver.readConfig(40, 4), 1, 'max_discard_seg')
  t.is(driver.readConfig(44, 4), 1, 'discard_sector_alignment')
  t.is(driver.readConfig(48, 4), 0x40_0000, 'max_write_zeroes_sectors')
  t.is(driver.readConfig(52, 4), 1, 'max_write_zeroes_seg')
  t.is(driver.readConfig(56, 1), 1, 'write_zeroes_may_unmap')
  t.is(driver.readConfig(60, 4), 0xffff_ffff, 'it is 60 bytes long')
})

test('a capacity beyond 32 bits is exact', t => {
  const { driver } = aDisk({ sizeBytes: 2 ** 50 + 512 })
  t.is(driver.readConfig(0, 4), 1)
  t.is(driver.readConfig(4, 4), 2 ** 9)
})

test('blocks of 4096 bytes need no larger ones behind them', t => {
  const { driver } = aDisk({ logicalBlockBytes: 4096 })
  t.is(driver.readConfig(20, 4), 4096)
  t.is(driver.readConfig(24, 1), 0)
  t.is(driver.readConfig(26, 2), 1)
  t.is(driver.readConfig(44, 4), 8)
})

test('the smallest queue still takes a segment', t => {
  t.is(aDisk({ queueSize: 2 }).driver.readConfig(12, 4), 1)
})

test('features follow what the disk can do', t => {
  const all = aDisk({ queues: 2 })
  for (const feature of ['segMax', 'blkSize', 'flush', 'topology', 'configWce'] as const) {
    t.true(all.offers(blkFeatures[feature]), feature)
  }
  for (const feature of ['multiQueue', 'discard', 'writeZeroes'] as const) {
    t.true(all.offers(blkFeatures[feature]), feature)
  }
  t.false(all.offers(blkFeatures.readOnly))
  t.deepEqual(all.device.queueSizes, [128, 128])
  t.false(aDisk().offers(blkFeatures.multiQueue))
  t.false(aDisk({ canDiscard: false }).offers(blkFeatures.discard))
  t.true(aDisk({ canDiscard: false }).offers(blkFeatures.writeZeroes))
  t.false(aDisk({ canWriteZeroes: false }).offers(blkFeatures.writeZeroes))
})

test('a disk that is only read offers nothing that writes', t => {
  const { offers } = aDisk({ isReadOnly: true })
  t.true(offers(blkFeatures.readOnly))
  t.false(offers(blkFeatures.discard))
  t.false(offers(blkFeatures.writeZeroes))
})

test('the driver changes the cache mode and nothing else', async t => {
  const { driver, queues, backend } = aDisk()
  await driver.begin(queues, version1 | blkFeatures.flush | blkFeatures.configWce)
  t.is(backend.mode, 1)
  driver.writeConfig(writebackOffset, 1, 0)
  t.is(backend.mode, 0)
  t.is(driver.readConfig(writebackOffset, 1), 0)
  driver.writeConfig(writebackOffset, 4, 1)
  t.is(backend.mode, 1)
  for (let offset = 0; offset < 60; offset += 1) {
    if (offset === writebackOffset) continue
    const before = driver.readConfig(offset, 1)
    driver.writeConfig(offset, 1, 0xee)
    t.is(driver.readConfig(offset, 1), before)
  }
  t.is(backend.mode, 1)
})

test('a driver that cannot ask for its data to be safe gets every write through (§5.2.6.2)', async t => {
  const { driver, queues, backend } = aDisk()
  await driver.begin(queues, version1)
  t.is(backend.mode, 0)
  await driver.begin(queues, version1 | blkFeatures.flush)
  t.is(backend.mode, 1, 'the next driver can')
  await driver.begin(queues, version1 | blkFeatures.configWce)
  t.is(backend.mode, 0, 'until it says otherwise (§5.2.5.2)')
  t.is(driver.readConfig(writebackOffset, 1), 0)
  driver.writeConfig(writebackOffset, 1, 1)
  t.is(backend.mode, 1)
})

test('the cache mode outlives a pause and ends with a reset', async t => {
  const { driver, queues, backend, transport } = aDisk()
  await driver.begin(queues, version1 | blkFeatures.flush | blkFeatures.configWce)
  driver.writeConfig(writebackOffset, 1, 0)
  await transport.pause()
  transport.resume()
  t.is(backend.mode, 0)
  t.is(driver.readConfig(writebackOffset, 1), 0)
  await driver.reset()
  t.is(driver.readConfig(writebackOffset, 1), 1)
})

test('a broken queue needs a reset', async t => {
  const { driver, queues, backend } = aDisk()
  await driver.begin(queues, version1 | blkFeatures.flush)
  backend.fail(0, 'a loop')
  t.is(driver.status & deviceStatus.needsReset, deviceStatus.needsReset)
  await driver.begin(queues, version1 | blkFeatures.flush)
  t.true(backend.isRunning)
})

test('the disk is closed once, after its engine', async t => {
  const { transport, device, backend, closed } = aDisk({
    closeDisk: () => {
      t.true(backend.isClosed)
    },
  })
  await transport.close()
  await device.close()
  const other = aDisk()
  await other.transport.close()
  await other.device.close()
  await other.device.close()
  t.is(other.closed(), 1)
  t.is(closed(), 0)
})

test('the cache mode travels, and a driver hears of an image that has grown', async t => {
  const disk = aDisk()
  await disk.driver.begin(disk.queues, version1 | blkFeatures.configWce)
  disk.driver.writeConfig(writebackOffset, 1, 0)
  const other = aDisk({ sizeBytes: 20 * 2 ** 20 })
  await other.driver.begin(other.queues, version1 | blkFeatures.configWce)
  await other.transport.pause()
  moveState(disk.device, other.device)
  t.is(other.backend.mode, 0)
  other.device.resume()
  other.transport.resume()
  t.deepEqual(other.interrupts(), [0], 'a changed configuration')
  other.device.resume()
  t.deepEqual(other.interrupts(), [], 'once')
  holdsItsState(t, disk.device)
})

test('an image that has shrunk is refused', t => {
  const message = '_disk0: its image has 512 bytes and had 10486271'
  t.throws(() => moveState(aDisk().device, aDisk({ sizeBytes: 512 }).device), { code: 'ERR_STATE_INVALID', message })
})

test('a disk that has become larger says so, at once or when the machine goes on', async t => {
  const grown: number[] = []
  const disk = aDisk({ sizeBytes: 2 ** 20, growDisk: sizeBytes => grown.push(sizeBytes) })
  await disk.driver.begin(disk.queues, version1)
  const generation = disk.driver.read('configGeneration')
  disk.device.resize(3 * 2 ** 20)
  t.is(disk.driver.readConfig(0, 4), 6144)
  t.not(disk.driver.read('configGeneration'), generation)
  t.deepEqual(disk.interrupts(), [0], 'a changed configuration')
  disk.device.resize(3 * 2 ** 20)
  t.deepEqual(disk.interrupts(), [], 'it has not changed')
  await disk.device.pause()
  disk.device.resize(4 * 2 ** 20)
  t.deepEqual(disk.interrupts(), [])
  t.like(disk.device.state, { kind: 'saved' })
  disk.device.resume()
  t.deepEqual(disk.interrupts(), [0])
  t.deepEqual(grown, [3 * 2 ** 20, 3 * 2 ** 20, 4 * 2 ** 20])
})

test('a disk that cannot become as large stays as it is', t => {
  const growDisk = () => {
    throw new Error('no space')
  }
  const disk = aDisk({ sizeBytes: 2 ** 20, growDisk })
  const code = 'ERR_DEVICE_SIZE'
  t.throws(() => disk.device.resize(512), { code, message: '_disk0 cannot be resized: it has 1048576 bytes already' })
  t.throws(() => disk.device.resize(2 ** 21 + 1), { code, message: /2097153 is no multiple of 512$/ })
  t.throws(() => disk.device.resize(2 ** 21), { message: 'no space' })
  t.is(disk.driver.readConfig(0, 4), 2048)
  t.throws(() => aDisk().device.resize(2 ** 30), { code, message: /only raw disks that are written to can be$/ })
})

test('what a disk may do still travels with it', async t => {
  const limiter = new FakeLimiter({ bytes: { burst: 0, budget: -512 } })
  const moved = new FakeLimiter({ bytes: { burst: 7, budget: 7 } })
  const [disk, other] = [aDisk({ limiter }), aDisk({ limiter: moved })]
  for (const each of [disk, other]) await each.device.pause()
  moveState(disk.device, other.device)
  other.device.resume()
  t.deepEqual(moved.levels(), limiter.levels())
  await other.device.pause()
  holdsItsState(t, disk.device)
  t.throws(() => moveState(disk.device, aDisk().device), { code: 'ERR_STATE_INVALID' })
  t.throws(() => moveState(aDisk().device, disk.device), { code: 'ERR_STATE_INVALID' })
})
