#include "virtio/block_engine.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <random>
#include <thread>

#include "virtio/testing/block_driver.h"
#include "virtio/testing/dirty_check.h"

namespace tsvmm {
namespace {

constexpr uint64_t kDiskSize = 8ull << 20;

struct Setup {
  const char* name;
  bool use_ring;
  bool direct;
};

class BlockEngineTest : public testing::TestWithParam<Setup> {
 protected:
  void SetUp() override {
    const char* folder = std::getenv("TSVMM_TEST_DIR");
    path_ = std::string(folder != nullptr ? folder : ".") + "/block-engine-XXXXXX";
    fd_ = mkostemp(path_.data(), O_CLOEXEC);
    ASSERT_GE(fd_, 0);
    ASSERT_EQ(ftruncate(fd_, kDiskSize), 0);
    if (GetParam().direct) {
      direct_fd_ = open(path_.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC);
      if (direct_fd_ < 0) GTEST_SKIP() << "no O_DIRECT here";
    }
  }
  void TearDown() override {
    engine_.reset();
    close(fd_);
    if (direct_fd_ >= 0) close(direct_fd_);
    unlink(path_.c_str());
  }

  void make_engine(bool read_only = false, bool sparse = true, std::shared_ptr<RateLimiter> limiter = nullptr) {
    auto shared = std::make_unique<BlockShared>();
    const bool direct = GetParam().direct;
    shared->disk = DiskAccess::create(
                       direct ? direct_fd_ : fd_,
                       {.size = kDiskSize, .read_only = read_only, .alignment = direct ? 4096u : 1u, .sparse = sparse})
                       .value();
    std::memcpy(shared->serial.data(), "serial-0123", 11);
    shared->use_ring = GetParam().use_ring;
    shared->limiter = std::move(limiter);
    EngineOptions options;
    options.name = "_disk0";
    options.memory = ram_.memory;
    options.on_failure = [this](uint16_t queue, const char* reason) { failures_.add(queue, reason); };
    options.on_stopped = [this] { stopped_.store(true); };
    engine_ = std::make_unique<BlockEngine>(std::move(options), std::move(shared));
  }
  void start(std::initializer_list<const BlockDriver*> drivers, uint64_t features = kFeatures) {
    std::vector<Vring> vrings;
    for (const auto* driver : drivers) vrings.push_back(driver->ring.vring(static_cast<uint16_t>(vrings.size())));
    const auto failure = engine_->start(std::move(vrings), features);
    ASSERT_FALSE(failure.has_value());
  }

  uint64_t counter(std::string_view name) const {
    const auto counters = engine_->counters();
    const auto found = std::ranges::find(counters, name, [](const auto& each) { return std::string_view(each.first); });
    return found == counters.end() ? UINT64_MAX : found->second;
  }
  void fill_disk(uint64_t offset, size_t length, char value) {
    const std::string bytes(length, value);
    ASSERT_EQ(pwrite(fd_, bytes.data(), length, static_cast<off_t>(offset)), static_cast<ssize_t>(length));
  }
  std::string disk(uint64_t offset, size_t length) {
    std::string bytes(length, 0);
    EXPECT_EQ(pread(fd_, bytes.data(), length, static_cast<off_t>(offset)), static_cast<ssize_t>(length));
    return bytes;
  }

  GuestRam ram_{kRam, kRamSize};
  std::string path_;
  int fd_ = -1;
  int direct_fd_ = -1;
  Failures failures_;
  std::atomic<bool> stopped_ = false;
  std::unique_ptr<BlockEngine> engine_;
};

INSTANTIATE_TEST_SUITE_P(All, BlockEngineTest,
                         testing::Values(Setup{"Ring", true, false}, Setup{"Calls", false, false},
                                         Setup{"RingDirect", true, true}, Setup{"CallsDirect", false, true}),
                         [](const auto& info) { return info.param.name; });

TEST_P(BlockEngineTest, WritesAndReadsBack) {
  make_engine();
  BlockDriver driver(ram_, 0);
  start({&driver});
  ram_.write(driver.data, std::string(4096, 'a') + std::string(512, 'b'));
  EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_OUT, 8, {{driver.data, 4096}, {driver.data + 4096, 512}}), VIRTIO_BLK_S_OK);
  EXPECT_EQ(driver.element.len, 1u);
  EXPECT_EQ(disk(4096, 4608), std::string(4096, 'a') + std::string(512, 'b'));
  EXPECT_EQ(disk(4096 + 4608, 512), std::string(512, 0)) << "the neighbours stay";
  // Pieces of odd sizes at odd addresses.
  EXPECT_EQ(
      driver.transfer(VIRTIO_BLK_T_IN, 8, {{driver.data + 0x10001, 1000, true}, {driver.data + 0x20003, 3608, true}}),
      VIRTIO_BLK_S_OK);
  EXPECT_EQ(driver.element.len, 4609u);
  EXPECT_EQ(ram_.read(driver.data + 0x10001, 1000), std::string(1000, 'a'));
  EXPECT_EQ(ram_.read(driver.data + 0x20003, 3608), std::string(3096, 'a') + std::string(512, 'b'));
  EXPECT_EQ(counter("read_bytes"), 4608u);
  EXPECT_EQ(counter("read_ops"), 1u);
  EXPECT_EQ(counter("write_bytes"), 4608u);
  EXPECT_EQ(counter("write_ops"), 1u);
}

TEST_P(BlockEngineTest, TellsHowLongRequestsTook) {
  make_engine();
  BlockDriver driver(ram_, 0);
  start({&driver});
  for (const auto& [name, value] : engine_->counters()) EXPECT_EQ(value, 0u) << name;
  const auto begin = std::chrono::steady_clock::now();
  for (int number = 0; number < 100; ++number) driver.transfer(VIRTIO_BLK_T_IN, 0, {{driver.data, 65536, true}});
  const auto took = std::chrono::steady_clock::now() - begin;
  EXPECT_LE(counter("read_latency_min"), counter("read_latency_avg"));
  EXPECT_LE(counter("read_latency_avg"), counter("read_latency_max"));
  EXPECT_GT(counter("read_latency_max"), 0u);
  EXPECT_LE(100 * counter("read_latency_avg"), static_cast<uint64_t>(took / std::chrono::microseconds(1)));
  EXPECT_EQ(counter("write_latency_max"), 0u);
}

TEST_P(BlockEngineTest, GrowsWhileItRuns) {
  make_engine();
  BlockDriver driver(ram_, 0);
  start({&driver});
  const auto beyond = kDiskSize / 512;
  EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_IN, beyond, {{driver.data, 512, true}}), VIRTIO_BLK_S_IOERR);
  EXPECT_FALSE(engine_->grow(kDiskSize - 512)) << "what a guest has written is not cut off";
  ASSERT_EQ(ftruncate(fd_, static_cast<off_t>(2 * kDiskSize)), 0);
  EXPECT_TRUE(engine_->grow(2 * kDiskSize));
  ram_.write(driver.data, std::string(512, 'g'));
  EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_OUT, beyond, {{driver.data, 512}}), VIRTIO_BLK_S_OK);
  EXPECT_EQ(disk(kDiskSize, 512), std::string(512, 'g'));
  EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_IN, 2 * beyond, {{driver.data, 512, true}}), VIRTIO_BLK_S_IOERR);
}

TEST_P(BlockEngineTest, HeaderAndStatusMayLieAnywhere) {
  make_engine();
  fill_disk(0, 512, 'x');
  BlockDriver driver(ram_, 0);
  start({&driver});
  driver.set_header(VIRTIO_BLK_T_IN, 0);
  // The header in two descriptors, the status at the end of the data's.
  const std::vector<GuestBuffer> buffers{
      {driver.header(), 5}, {driver.header() + 5, 11}, {driver.data, 100, true}, {driver.data + 0x1000, 413, true}};
  *ram_.at<uint8_t>(driver.data + 0x1000 + 412) = 0xee;
  driver.submit(buffers);
  EXPECT_EQ(*ram_.at<uint8_t>(driver.data + 0x1000 + 412), VIRTIO_BLK_S_OK);
  EXPECT_EQ(driver.element.len, 513u);
  EXPECT_EQ(ram_.read(driver.data, 100) + ram_.read(driver.data + 0x1000, 412), std::string(512, 'x'));
}

TEST_P(BlockEngineTest, IndirectRequestsWithManyPiecesAreServed) {
  make_engine();
  BlockDriver driver(ram_, 0);
  start({&driver});
  fill_disk(0, 256 * 512, 'q');
  driver.set_header(VIRTIO_BLK_T_IN, 0);
  std::vector<GuestBuffer> buffers{{driver.header(), 16}};
  for (uint64_t number = 0; number < 256; ++number) buffers.push_back({driver.data + number * 1024, 512, true});
  buffers.push_back({driver.status(), 1, true});
  driver.ring.add_indirect(driver.data + 0x100000, buffers);
  vring_used_elem element{};
  ASSERT_TRUE(driver.ring.kick_and_wait(element));
  EXPECT_EQ(*ram_.at<uint8_t>(driver.status()), VIRTIO_BLK_S_OK);
  for (uint64_t number = 0; number < 256; ++number) {
    ASSERT_EQ(ram_.read(driver.data + number * 1024, 512), std::string(512, 'q')) << number;
  }
}

// Of a file that is in the host's page cache in part the host reads what it has; with O_DIRECT, odd addresses go
// through a bounce buffer piece by piece.
TEST_P(BlockEngineTest, ATransferInSeveralStepsIsWhole) {
  constexpr size_t kLength = 3 << 20;
  constexpr size_t kCached = (1 << 20) + 52 * 1024;
  make_engine();
  BlockDriver driver(ram_, 0);
  start({&driver});
  std::string bytes(kLength, 0);
  std::mt19937 random(1);
  for (auto& byte : bytes) byte = static_cast<char>(random());
  ASSERT_EQ(pwrite(fd_, bytes.data(), kLength, 4096), static_cast<ssize_t>(kLength));
  ASSERT_EQ(fsync(fd_), 0);
  ASSERT_EQ(posix_fadvise(fd_, kCached, 0, POSIX_FADV_DONTNEED), 0);
  const auto target = driver.data + 0x10001;
  EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_IN, 8, {{target, kLength, true}}), VIRTIO_BLK_S_OK);
  EXPECT_TRUE(ram_.read(target, kLength) == bytes);
  ram_.write(target, bytes);
  EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_OUT, 16, {{target, kLength}}), VIRTIO_BLK_S_OK);
  EXPECT_TRUE(disk(8192, kLength) == bytes);
}

TEST_P(BlockEngineTest, RefusesWhatLiesOutsideTheDisk) {
  make_engine();
  BlockDriver driver(ram_, 0);
  start({&driver});
  const auto sectors = kDiskSize / 512;
  for (const auto type : {VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT}) {
    const bool writable = type == VIRTIO_BLK_T_IN;
    EXPECT_EQ(driver.transfer(type, sectors - 1, {{driver.data, 512, writable}}), VIRTIO_BLK_S_OK);
    EXPECT_EQ(driver.transfer(type, sectors - 1, {{driver.data, 1024, writable}}), VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(driver.transfer(type, sectors, {{driver.data, 512, writable}}), VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(driver.transfer(type, UINT64_MAX, {{driver.data, 512, writable}}), VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(driver.transfer(type, UINT64_MAX / 512 + 1, {{driver.data, 512, writable}}), VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(driver.transfer(type, 0, {{driver.data, 513, writable}}), VIRTIO_BLK_S_IOERR) << "no whole sectors";
    EXPECT_EQ(driver.element.len, 1u);
  }
  struct stat status;
  fstat(fd_, &status);
  EXPECT_EQ(static_cast<uint64_t>(status.st_size), kDiskSize);
}

TEST_P(BlockEngineTest, AReadOnlyDiskRefusesAllThatChangesIt) {
  make_engine(true);
  fill_disk(0, 4096, 'r');
  BlockDriver driver(ram_, 0);
  start({&driver});
  *ram_.at<virtio_blk_discard_write_zeroes>(driver.data) = {0, 8, 0};
  EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_OUT, 0, {{driver.data, 512}}), VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_DISCARD, 0, {{driver.data, 16}}), VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_WRITE_ZEROES, 0, {{driver.data, 16}}), VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_FLUSH, 0, {}), VIRTIO_BLK_S_OK);
  EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_IN, 0, {{driver.data, 512, true}}), VIRTIO_BLK_S_OK);
  EXPECT_EQ(disk(0, 4096), std::string(4096, 'r'));
}

TEST_P(BlockEngineTest, TellsItsSerialInTwentyBytesOrFewer) {
  make_engine();
  BlockDriver driver(ram_, 0);
  start({&driver});
  ram_.write(driver.data, std::string(32, '#'));
  EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_GET_ID, 0, {{driver.data, 20, true}}), VIRTIO_BLK_S_OK);
  EXPECT_EQ(driver.element.len, 21u);
  EXPECT_EQ(ram_.read(driver.data, 21), std::string("serial-0123\0\0\0\0\0\0\0\0\0#", 21));
  EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_GET_ID, 0, {{driver.data + 64, 4, true}}), VIRTIO_BLK_S_OK);
  EXPECT_EQ(ram_.read(driver.data + 64, 4), "seri");
}

TEST_P(BlockEngineTest, UnknownTypesAreUnsupported) {
  make_engine();
  BlockDriver driver(ram_, 0);
  start({&driver});
  for (const uint32_t type : {2u, 3u, 16u, 0x80000000u, UINT32_MAX}) {
    EXPECT_EQ(driver.transfer(type, 0, {{driver.data, 512, true}}), VIRTIO_BLK_S_UNSUPP);
  }
}

TEST_P(BlockEngineTest, DiscardsAndWritesZeroes) {
  make_engine();
  fill_disk(0, 1 << 20, 'd');
  fsync(fd_);
  BlockDriver driver(ram_, 0);
  start({&driver});
  auto* segments = ram_.at<virtio_blk_discard_write_zeroes>(driver.data);
  struct stat before;
  fstat(fd_, &before);
  segments[0] = {0, 256, 0};
  segments[1] = {512, 128, 0};
  EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_DISCARD, 0, {{driver.data, 32}}), VIRTIO_BLK_S_OK);
  struct stat after;
  fstat(fd_, &after);
  EXPECT_LT(after.st_blocks, before.st_blocks) << "sparse";
  EXPECT_EQ(disk(128 * 1024, 128 * 1024), std::string(128 * 1024, 'd'));

  // Not aligned to anything but sectors, with and without unmap.
  segments[0] = {1025, 3, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP};
  segments[1] = {1029, 300, 0};
  EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_WRITE_ZEROES, 0, {{driver.data, 32}}), VIRTIO_BLK_S_OK);
  EXPECT_EQ(disk(1025 * 512, 3 * 512), std::string(3 * 512, 0));
  EXPECT_EQ(disk(1028 * 512, 512), std::string(512, 'd'));
  EXPECT_EQ(disk(1029 * 512, 300 * 512), std::string(300 * 512, 0));
  EXPECT_EQ(disk(1329 * 512, 512), std::string(512, 'd'));
  EXPECT_EQ(disk(1024 * 512, 512), std::string(512, 'd'));
}

TEST_P(BlockEngineTest, RefusesSegmentsThatCannotBe) {
  make_engine();
  BlockDriver driver(ram_, 0);
  start({&driver});
  auto* segment = ram_.at<virtio_blk_discard_write_zeroes>(driver.data);
  *segment = {0, 8, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP};
  EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_DISCARD, 0, {{driver.data, 16}}), VIRTIO_BLK_S_UNSUPP);
  *segment = {0, 8, 2};
  EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_WRITE_ZEROES, 0, {{driver.data, 16}}), VIRTIO_BLK_S_UNSUPP);
  *segment = {kDiskSize / 512 - 7, 8, 0};
  EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_DISCARD, 0, {{driver.data, 16}}), VIRTIO_BLK_S_IOERR);
  *segment = {UINT64_MAX, UINT32_MAX, 0};
  EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_WRITE_ZEROES, 0, {{driver.data, 16}}), VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_DISCARD, 0, {{driver.data, 15}}), VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_DISCARD, 0, {}), VIRTIO_BLK_S_IOERR);
}

TEST_P(BlockEngineTest, DiscardNeedsItsFeature) {
  make_engine();
  fill_disk(0, 4096, 'k');
  BlockDriver driver(ram_, 0);
  start({&driver}, kFeatureEventIndex | kFeatureIndirectDescriptors);
  *ram_.at<virtio_blk_discard_write_zeroes>(driver.data) = {0, 8, 0};
  EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_DISCARD, 0, {{driver.data, 16}}), VIRTIO_BLK_S_UNSUPP);
  EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_WRITE_ZEROES, 0, {{driver.data, 16}}), VIRTIO_BLK_S_UNSUPP);
  EXPECT_EQ(disk(0, 4096), std::string(4096, 'k'));
  // Without FLUSH every write is durable; it still is one.
  ram_.write(driver.data, std::string(512, 'w'));
  EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_OUT, 1, {{driver.data, 512}}), VIRTIO_BLK_S_OK);
  EXPECT_EQ(disk(512, 512), std::string(512, 'w'));
}

TEST_P(BlockEngineTest, ADiskThatIsNotSparseKeepsItsSpace) {
  make_engine(false, false);
  fill_disk(0, 1 << 20, 'd');
  fsync(fd_);
  BlockDriver driver(ram_, 0);
  start({&driver});
  *ram_.at<virtio_blk_discard_write_zeroes>(driver.data) = {0, 2048, 0};
  EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_DISCARD, 0, {{driver.data, 16}}), VIRTIO_BLK_S_OK);
  EXPECT_EQ(disk(0, 4096), std::string(4096, 'd'));
  struct stat before;
  fstat(fd_, &before);
  *ram_.at<virtio_blk_discard_write_zeroes>(driver.data) = {0, 2048, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP};
  EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_WRITE_ZEROES, 0, {{driver.data, 16}}), VIRTIO_BLK_S_OK);
  EXPECT_EQ(disk(0, 4096), std::string(4096, 0));
  struct stat after;
  fstat(fd_, &after);
  EXPECT_GE(after.st_blocks, before.st_blocks);
}

TEST_P(BlockEngineTest, ARequestWithoutHeaderOrStatusBreaksItsQueueAlone) {
  make_engine();
  BlockDriver broken(ram_, 0);
  BlockDriver fine(ram_, 1);
  start({&broken, &fine});
  broken.ring.add({{broken.header(), 15}, {broken.data, 513, true}});
  broken.ring.doorbell->signal();
  EXPECT_EQ(failures_.wait(), "a block request without a whole header");
  EXPECT_EQ(fine.transfer(VIRTIO_BLK_T_IN, 0, {{fine.data, 512, true}}), VIRTIO_BLK_S_OK);
  EXPECT_EQ(broken.ring.used_index(), 0);
  const auto positions = (engine_->request_stop(), engine_->finish());
  ASSERT_EQ(positions.size(), 2u);
  EXPECT_EQ(positions[1].next_available, 1);

  BlockDriver again(ram_, 2);
  failures_.list.clear();
  start({&again});
  again.ring.add({{again.header(), 16}});
  again.ring.doorbell->signal();
  EXPECT_EQ(failures_.wait(), "a block request without a status byte");
}

TEST_P(BlockEngineTest, GoesOnWhereItStopped) {
  make_engine();
  BlockDriver driver(ram_, 0, 64, 65533);
  for (int round = 0; round < 4; ++round) {
    start({&driver});
    for (int request = 0; request < 3; ++request) {
      const auto sector = static_cast<uint64_t>(round * 3 + request);
      ram_.write(driver.data, std::string(512, static_cast<char>('A' + sector)));
      ASSERT_EQ(driver.transfer(VIRTIO_BLK_T_OUT, sector, {{driver.data, 512}}), VIRTIO_BLK_S_OK);
    }
    stopped_ = false;
    engine_->request_stop();
    const auto positions = engine_->finish();
    EXPECT_TRUE(stopped_);
    ASSERT_EQ(positions.size(), 1u);
    EXPECT_EQ(positions[0].next_available, static_cast<uint16_t>(65533 + 3 * (round + 1)));
    EXPECT_EQ(positions[0].next_used, positions[0].next_available);
    driver.ring.layout.next_available = positions[0].next_available;
    driver.ring.layout.next_used = positions[0].next_used;
  }
  EXPECT_EQ(disk(11 * 512, 512), std::string(512, 'L'));
}

TEST_P(BlockEngineTest, WhatWasOfferedBeforeTheStartIsServedWithoutADoorbell) {
  make_engine();
  fill_disk(0, 512, 'z');
  BlockDriver driver(ram_, 0);
  driver.set_header(VIRTIO_BLK_T_IN, 0);
  driver.ring.add({{driver.header(), 16}, {driver.data, 512, true}, {driver.status(), 1, true}});
  start({&driver});
  vring_used_elem element{};
  ASSERT_TRUE(driver.ring.wait_used(element));
  EXPECT_EQ(ram_.read(driver.data, 512), std::string(512, 'z'));
}

TEST_P(BlockEngineTest, RefusesRingsAndStartsNothing) {
  make_engine();
  BlockDriver driver(ram_, 0);
  auto good = driver.ring.vring(0);
  auto bad = driver.ring.vring(3);
  bad.layout.used_ring = 0;
  const auto failure = engine_->start({good, bad}, kFeatures);
  ASSERT_TRUE(failure.has_value());
  EXPECT_EQ(failure->queue, 3);
  EXPECT_FALSE(engine_->is_running());
  const auto twice = engine_->start({good, good}, kFeatures);
  ASSERT_TRUE(twice.has_value());
  EXPECT_STREQ(twice->failure.operation, "the queue is given twice");
}

// Every queue writes its own sectors at random, many at a time, reads them back, and stops in the middle now and then.
TEST_P(BlockEngineTest, FourQueuesAtOnceKeepTheirDataApart) {
  make_engine();
  constexpr int kQueues = 4;
  constexpr uint64_t kBlocks = 512;
  constexpr int kDepth = 12;
  std::vector<std::unique_ptr<BlockDriver>> drivers;
  for (uint32_t number = 0; number < kQueues; ++number) drivers.push_back(std::make_unique<BlockDriver>(ram_, number));
  start({drivers[0].get(), drivers[1].get(), drivers[2].get(), drivers[3].get()});
  std::vector<std::thread> guests;
  for (uint64_t number = 0; number < kQueues; ++number) {
    guests.emplace_back([&, number] {
      auto& driver = *drivers[number];
      std::mt19937_64 random(number);
      std::vector<uint64_t> content(kBlocks, 0);
      uint64_t stamp = number << 32;
      for (int round = 0; round < 60; ++round) {
        const bool write = random() % 2 == 0;
        std::array<uint64_t, kDepth> blocks;
        std::array<uint64_t, kDepth> buffers;
        for (uint64_t slot = 0; slot < kDepth; ++slot) {
          // No block twice in a batch: their order would be the host's.
          blocks[slot] = (random() % (kBlocks / kDepth)) * kDepth + slot;
          if (blocks[slot] >= kBlocks) blocks[slot] = slot;
          const auto base = driver.data + slot * 0x8000;
          buffers[slot] = base + 0x1000 + 8 * (random() % 8);
          *ram_.at<virtio_blk_outhdr>(base) = {write ? 1u : 0u, 0, (number * kBlocks + blocks[slot]) * 2};
          *ram_.at<uint8_t>(base + 64) = 0xee;
          if (write) {
            content[blocks[slot]] = ++stamp;
            for (int word = 0; word < 128; ++word) ram_.at<uint64_t>(buffers[slot])[word] = stamp;
          }
          driver.ring.add({{base, 16}, {buffers[slot], 1024, !write}, {base + 64, 1, true}});
        }
        driver.ring.doorbell->signal();
        for (int slot = 0; slot < kDepth; ++slot) {
          vring_used_elem element{};
          if (!driver.ring.wait_used(element)) return ADD_FAILURE() << "lost request";
        }
        for (uint64_t slot = 0; slot < kDepth; ++slot) {
          if (*ram_.at<uint8_t>(driver.data + slot * 0x8000 + 64) != 0) return ADD_FAILURE() << "status";
          if (write) continue;
          const auto expected = content[blocks[slot]];
          for (int word = 0; word < 128; ++word) {
            const auto found = ram_.at<uint64_t>(buffers[slot])[word];
            if (found != expected) return ADD_FAILURE() << "block " << blocks[slot] << " " << found << " " << expected;
          }
        }
      }
    });
  }
  for (auto& guest : guests) guest.join();
  EXPECT_TRUE(failures_.list.empty());
}

// Where sectors are smaller than what the host takes, each write of one writes what it has read of those around it.
TEST_P(BlockEngineTest, WhatOneQueueZeroesStaysSoWhileAnotherWritesNextToIt) {
  make_engine();
  BlockDriver zeroing(ram_, 0);
  BlockDriver writing(ram_, 1);
  start({&zeroing, &writing});
  std::atomic<bool> ends = false;
  std::thread neighbour([&] {
    while (!ends) EXPECT_EQ(writing.transfer(VIRTIO_BLK_T_OUT, 0, {{writing.data, 1024}}), VIRTIO_BLK_S_OK);
  });
  const auto segment = zeroing.data + 0x10000;
  bool stays = true;
  for (uint32_t round = 0; round < 400 && stays; ++round) {
    ram_.write(zeroing.data, std::string(1024, 'z'));
    EXPECT_EQ(zeroing.transfer(VIRTIO_BLK_T_OUT, 2, {{zeroing.data, 1024}}), VIRTIO_BLK_S_OK);
    *ram_.at<virtio_blk_discard_write_zeroes>(segment) = {2, 2, round % 2};
    EXPECT_EQ(zeroing.transfer(VIRTIO_BLK_T_WRITE_ZEROES, 0, {{segment, 16}}), VIRTIO_BLK_S_OK);
    for (int look = 0; look < 3 && stays; ++look) {
      EXPECT_EQ(zeroing.transfer(VIRTIO_BLK_T_IN, 2, {{zeroing.data, 1024, true}}), VIRTIO_BLK_S_OK);
      stays = ram_.read(zeroing.data, 1024) == std::string(1024, 0);
      EXPECT_TRUE(stays) << round;
    }
  }
  ends = true;
  neighbour.join();
}

constexpr uint64_t kMs = 1'000'000;

std::shared_ptr<RateLimiter> limiter_of(uint64_t bytes, uint64_t operations, uint64_t refill_ns) {
  const auto bucket = [&](uint64_t size) {
    return TokenBucket::Limits{.size = size, .one_time_burst = 0, .refill_ns = refill_ns};
  };
  return std::make_shared<RateLimiter>(RateLimiter::Limits{.bytes = bucket(bytes), .operations = bucket(operations)});
}

TEST_P(BlockEngineTest, TakesWhatItsLimiterAllowsAndLeavesTheRest) {
  const auto limiter = limiter_of(1 << 20, 3, 360'000'000 * kMs);
  make_engine(false, true, limiter);
  BlockDriver driver(ram_, 0);
  start({&driver});
  for (int number = 0; number < 3; ++number) {
    EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_IN, 0, {{driver.data, 512, true}}), VIRTIO_BLK_S_OK);
  }
  driver.set_header(VIRTIO_BLK_T_IN, 0);
  driver.ring.add({{driver.header(), 16}, {driver.data, 512, true}, {driver.status(), 1, true}});
  driver.ring.doorbell->signal();
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  EXPECT_EQ(counter("read_ops"), 3u);
  engine_->request_stop();
  const auto position = engine_->finish().front();
  EXPECT_EQ(position.next_available, 3) << "the rest is left in the queue";
  EXPECT_NEAR(static_cast<double>(limiter->levels().bytes->budget), (1 << 20) - 3 * 512, 512);
}

TEST_P(BlockEngineTest, GoesOnWhenItsLimiterLetsIt) {
  make_engine(false, true, limiter_of(64 * 1024, 1000, 20 * kMs));
  BlockDriver driver(ram_, 0);
  start({&driver});
  const auto begin = std::chrono::steady_clock::now();
  for (int number = 0; number < 5; ++number) {
    EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_IN, 0, {{driver.data, 64 * 1024, true}}), VIRTIO_BLK_S_OK);
  }
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(3 * 20));
}

// Requests of every kind, with all that the guest wrote for them there before: what differs afterwards is the engine's.
TEST_P(BlockEngineTest, AllThatItChangesIsMarked) {
  for (const uint64_t event_index : {uint64_t{0}, kFeatureEventIndex}) {
    make_engine();
    fill_disk(0, 1 << 20, 'd');
    const auto features = kFeatures & (~kFeatureEventIndex | event_index);
    GuestDriver ring(ram_, 64, features, kRam);
    auto next = kRam + 0x100000;
    const auto page = [&](uint64_t pages) {
      const auto at = next + 0x1000;
      next += (pages + 2) * 0x1000;
      std::memset(ram_.at<char>(at), 0x55, pages * 0x1000);
      return at;
    };
    std::set<uint64_t> expected{ring.layout.used_ring};
    const auto add = [&](uint32_t type, uint64_t sector, std::vector<GuestBuffer> data, uint64_t written) {
      const auto header = page(1);
      *ram_.at<virtio_blk_outhdr>(header) = {type, 0, sector};
      const auto status = page(1) + 0x801;
      for (const auto& buffer : data) {
        if (!buffer.writable) continue;
        const auto part = std::min<uint64_t>(buffer.length, written);
        written -= part;
        for (uint64_t at = buffer.address & ~0xfffull; part != 0 && at < buffer.address + part; at += 0x1000) {
          expected.insert(at);
        }
      }
      expected.insert(status & ~0xfffull);
      data.insert(data.begin(), {header, 16});
      data.push_back({status, 1, true});
      ring.offer(ring.chain(data));
    };
    add(VIRTIO_BLK_T_IN, 8, {{page(1), 4096, true}}, 4096);
    add(VIRTIO_BLK_T_IN, 3, {{page(5) + 0x7ff, 0x2001, true}, {page(1) + 1, 0x1ff, true}}, 0x2200);
    add(VIRTIO_BLK_T_IN, 16, {{page(256), 1 << 20, true}}, 1 << 20);
    add(VIRTIO_BLK_T_IN, 1ull << 40, {{page(1), 512, true}}, 0);
    add(VIRTIO_BLK_T_GET_ID, 0, {{page(2) + 0xff8, 20, true}}, 20);
    // Where nothing reads: requests are carried out side by side.
    add(VIRTIO_BLK_T_OUT, 3000, {{page(1), 4096}}, 0);
    add(VIRTIO_BLK_T_FLUSH, 0, {}, 0);
    const auto segment = page(1);
    *ram_.at<virtio_blk_discard_write_zeroes>(segment) = {2048, 8, 0};
    add(VIRTIO_BLK_T_WRITE_ZEROES, 0, {{segment, 16}}, 0);
    add(77, 0, {{page(1), 512, true}}, 0);
    const DirtyCheck check(ram_, kRamSize);
    engine_->start({ring.vring(0)}, features);
    for (int count = 0; count < 9;) {
      vring_used_elem element{};
      ASSERT_TRUE(ring.wait_used(element)) << count;
      ++count;
    }
    engine_->request_stop();
    engine_->finish();
    auto changed = check.changed();
    // The driver asks for interrupts there.
    changed.erase(ring.layout.available_ring);
    EXPECT_EQ(changed, expected);
    EXPECT_EQ(check.marked(), expected);
    engine_.reset();
  }
}

}  // namespace
}  // namespace tsvmm
