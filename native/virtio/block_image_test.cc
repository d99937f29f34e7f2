// A guest's disk in an image of another format than raw, behind the engine.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <array>
#include <random>
#include <thread>

#include "disk/qcow2/image.h"
#include "disk/testing/qemu_img.h"
#include "disk/vhdx/image.h"
#include "virtio/block_engine.h"
#include "virtio/testing/block_driver.h"

namespace tsvmm {
namespace {

constexpr uint64_t kDiskBytes = 8ull << 20;

struct Setup {
  const char* name;
  bool use_ring;
  bool direct;
  const char* options;
  const char* format = "qcow2";
};

void PrintTo(const Setup& setup, std::ostream* out) { *out << setup.name; }

class BlockImageTest : public testing::TestWithParam<Setup> {
 protected:
  void SetUp() override {
    make_with_qemu_img("create -q -f " + format() + " -o " + GetParam().options + " " + path_ + " " +
                       std::to_string(kDiskBytes));
  }

  void make_engine() {
    const UniqueFd fd(open(path_.c_str(), O_RDWR | O_CLOEXEC | (GetParam().direct ? O_DIRECT : 0)));
    const DiskOptions image_options{.alignment = GetParam().direct ? 4096u : 1u};
    auto shared = std::make_unique<BlockShared>();
    if (format() == "vhdx") {
      shared->image = vhdx::Image::open(fd.get(), image_options).value();
    } else {
      shared->image = qcow2::Image::open(fd.get(), image_options).value();
    }
    shared->use_ring = GetParam().use_ring;
    shared->on_fault = [this](const std::string& reason) { faults_.add(0, reason.c_str()); };
    EngineOptions options;
    options.name = "_disk0";
    options.memory = ram_.memory;
    options.on_failure = [this](uint16_t queue, const char* reason) { failures_.add(queue, reason); };
    options.on_stopped = [] {};
    engine_ = std::make_unique<BlockEngine>(std::move(options), std::move(shared));
  }
  void start(const std::vector<std::unique_ptr<BlockDriver>>& drivers, uint64_t features = kFeatures) {
    std::vector<Vring> vrings;
    for (const auto& driver : drivers) vrings.push_back(driver->ring.vring(static_cast<uint16_t>(vrings.size())));
    ASSERT_FALSE(engine_->start(std::move(vrings), features).has_value());
  }
  std::string format() const { return GetParam().format; }
  std::string damage() const { return damage_of(path_, Leaks::kAllowed, format()); }
  std::string converted() {
    make_with_qemu_img("convert -U -f " + format() + " -O raw " + path_ + " " + folder_.path("raw"));
    return read_file(folder_.path("raw"));
  }

  Folder folder_;
  const std::string path_ = folder_.path("disk.qcow2");
  GuestRam ram_{kRam, kRamSize};
  Failures failures_;
  Failures faults_;
  std::unique_ptr<BlockEngine> engine_;
};

INSTANTIATE_TEST_SUITE_P(All, BlockImageTest,
                         testing::Values(Setup{"Ring", true, false, "compat=1.1"},
                                         Setup{"Calls", false, false, "compat=1.1"},
                                         Setup{"RingDirect", true, true, "compat=1.1"},
                                         Setup{"CallsDirect", false, true, "compat=1.1"},
                                         Setup{"SmallClusters", true, false, "cluster_size=512"},
                                         Setup{"LargeClusters", true, false, "cluster_size=2M"},
                                         Setup{"Vhdx", true, false, "block_size=1M", "vhdx"},
                                         Setup{"VhdxDirect", true, true, "block_size=1M", "vhdx"}),
                         [](const auto& info) { return info.param.name; });

class DamagedImageTest : public BlockImageTest {};
INSTANTIATE_TEST_SUITE_P(All, DamagedImageTest,
                         testing::Values(Setup{"Ring", true, false, "compat=1.1"},
                                         Setup{"Calls", false, false, "compat=1.1"}),
                         [](const auto& info) { return info.param.name; });

TEST_P(BlockImageTest, WhatIsWrittenIsReadBackAndInTheFileOnceTheEngineStands) {
  make_engine();
  std::vector<std::unique_ptr<BlockDriver>> drivers;
  drivers.push_back(std::make_unique<BlockDriver>(ram_, 0));
  auto& driver = *drivers[0];
  start(drivers);
  ram_.write(driver.data, std::string(4096, 'a') + std::string(512, 'b'));
  EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_OUT, 9, {{driver.data, 4096}, {driver.data + 4096, 512}}), VIRTIO_BLK_S_OK);
  // Pieces of odd sizes at odd addresses, of what is written and of what never was.
  ram_.write(driver.data + 0x10001, std::string(6000, '?'));
  EXPECT_EQ(
      driver.transfer(VIRTIO_BLK_T_IN, 8, {{driver.data + 0x10001, 1000, true}, {driver.data + 0x20003, 4632, true}}),
      VIRTIO_BLK_S_OK);
  const auto found = ram_.read(driver.data + 0x10001, 1000) + ram_.read(driver.data + 0x20003, 4632);
  const auto written = std::string(512, 0) + std::string(4096, 'a') + std::string(512, 'b') + std::string(512, 0);
  EXPECT_TRUE(found == written);
  const auto counters = engine_->counters();
  EXPECT_EQ(counters[0].second, 5632u);
  EXPECT_EQ(counters[2].second, 4608u);
  *ram_.at<virtio_blk_discard_write_zeroes>(driver.data) = {10, 2, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP};
  EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_WRITE_ZEROES, 0, {{driver.data, 16}}), VIRTIO_BLK_S_OK);
  engine_->request_stop();
  engine_->finish();
  EXPECT_EQ(damage(), "");
  EXPECT_TRUE(converted().substr(8 * 512, 2048) == std::string(512, 0) + std::string(512, 'a') + std::string(1024, 0));
}

TEST_P(BlockImageTest, RefusesWhatLiesOutsideTheDisk) {
  make_engine();
  std::vector<std::unique_ptr<BlockDriver>> drivers;
  drivers.push_back(std::make_unique<BlockDriver>(ram_, 0));
  auto& driver = *drivers[0];
  start(drivers);
  const auto sectors = kDiskBytes / 512;
  for (const auto type : {VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT}) {
    const bool writable = type == VIRTIO_BLK_T_IN;
    EXPECT_EQ(driver.transfer(type, sectors - 1, {{driver.data, 512, writable}}), VIRTIO_BLK_S_OK);
    EXPECT_EQ(driver.transfer(type, sectors - 1, {{driver.data, 1024, writable}}), VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(driver.transfer(type, UINT64_MAX / 512 + 1, {{driver.data, 512, writable}}), VIRTIO_BLK_S_IOERR);
  }
}

// Without FLUSH, and with CONFIG_WCE's absence, each write is to be there when it is done.
TEST_P(BlockImageTest, WriteThroughLeavesNothingInMemory) {
  make_engine();
  std::vector<std::unique_ptr<BlockDriver>> drivers;
  drivers.push_back(std::make_unique<BlockDriver>(ram_, 0));
  auto& driver = *drivers[0];
  start(drivers, kFeatureEventIndex | kFeatureIndirectDescriptors);
  ram_.write(driver.data, std::string(512, 'w'));
  EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_OUT, 77, {{driver.data, 512}}), VIRTIO_BLK_S_OK);
  // What is in the file now; of a VHDX the log may have a part of it.
  const auto copy = folder_.path("copy");
  std::filesystem::copy_file(path_, copy);
  make_with_qemu_img("check -q -r leaks -f " + format() + " " + copy);
  make_with_qemu_img("convert -f " + format() + " -O raw " + copy + " " + folder_.path("raw"));
  EXPECT_TRUE(read_file(folder_.path("raw")).substr(77 * 512, 512) == std::string(512, 'w'));
}

// Every queue has every fourth KiB, so that all write into the same clusters, and discards what is its own.
TEST_P(BlockImageTest, QueuesThatShareClustersKeepTheirDataApart) {
  make_engine();
  constexpr uint64_t kQueues = 4;
  constexpr uint64_t kBlocks = 1024;
  constexpr uint64_t kDepth = 12;
  std::vector<std::unique_ptr<BlockDriver>> drivers;
  for (uint32_t number = 0; number < kQueues; ++number) drivers.push_back(std::make_unique<BlockDriver>(ram_, number));
  std::vector<uint64_t> content(kBlocks * kQueues, 0);
  const auto sector_of = [](uint64_t number, uint64_t block) { return (block * kQueues + number) * 2; };
  for (int session = 0; session < 3; ++session) {
    start(drivers);
    std::vector<std::thread> guests;
    for (uint64_t number = 0; number < kQueues; ++number) {
      guests.emplace_back([&, number] {
        auto& driver = *drivers[number];
        std::mt19937_64 random(number + 100 * static_cast<uint64_t>(session));
        uint64_t stamp = number << 32 | static_cast<uint64_t>(session) << 20;
        for (int round = 0; round < 40; ++round) {
          // Reads, writes, and zeroes with and without the space.
          const auto kind = random() % 5;
          const bool reads = kind < 2;
          const bool writes = kind == 2 || kind == 3;
          std::array<uint64_t, kDepth> blocks;
          for (uint64_t slot = 0; slot < kDepth; ++slot) {
            blocks[slot] = random() % (kBlocks / kDepth) * kDepth + slot;
            const auto base = driver.data + slot * 0x8000;
            const auto buffer = base + 0x1000 + 8 * (slot % 3);
            const auto sector = sector_of(number, blocks[slot]);
            auto& expected = content[blocks[slot] * kQueues + number];
            *ram_.at<uint8_t>(base + 64) = 0xee;
            if (!reads && !writes) {
              *ram_.at<virtio_blk_outhdr>(base) = {VIRTIO_BLK_T_WRITE_ZEROES, 0, 0};
              *ram_.at<virtio_blk_discard_write_zeroes>(buffer) = {sector, 2, static_cast<uint32_t>(slot % 2)};
              expected = 0;
              driver.ring.add({{base, 16}, {buffer, 16}, {base + 64, 1, true}});
              continue;
            }
            *ram_.at<virtio_blk_outhdr>(base) = {writes ? 1u : 0u, 0, sector};
            if (writes) {
              expected = ++stamp;
              for (int word = 0; word < 128; ++word) ram_.at<uint64_t>(buffer)[word] = stamp;
            }
            driver.ring.add({{base, 16}, {buffer, 1024, reads}, {base + 64, 1, true}});
          }
          driver.ring.doorbell->signal();
          for (uint64_t slot = 0; slot < kDepth; ++slot) {
            vring_used_elem element{};
            if (!driver.ring.wait_used(element)) return ADD_FAILURE() << "lost request";
          }
          for (uint64_t slot = 0; slot < kDepth; ++slot) {
            const auto base = driver.data + slot * 0x8000;
            if (*ram_.at<uint8_t>(base + 64) != 0) return ADD_FAILURE() << "status of kind " << kind;
            if (!reads) continue;
            const auto expected = content[blocks[slot] * kQueues + number];
            const auto* words = ram_.at<uint64_t>(base + 0x1000 + 8 * (slot % 3));
            for (int word = 0; word < 128; ++word) {
              if (words[word] != expected) return ADD_FAILURE() << "block " << blocks[slot];
            }
          }
          if (round % 8 == 0 && driver.transfer(VIRTIO_BLK_T_FLUSH, 0, {}) != 0) return ADD_FAILURE() << "flush";
        }
      });
    }
    for (auto& guest : guests) guest.join();
    engine_->request_stop();
    const auto positions = engine_->finish();
    for (uint64_t number = 0; number < kQueues; ++number) {
      drivers[number]->ring.layout.next_available = positions[number].next_available;
      drivers[number]->ring.layout.next_used = positions[number].next_used;
    }
    EXPECT_EQ(damage(), "");
  }
  EXPECT_TRUE(failures_.list.empty());
  EXPECT_TRUE(faults_.list.empty());
  engine_.reset();
  EXPECT_EQ(damage_of(path_, Leaks::kNone, format()), "");
  const auto raw = converted();
  for (uint64_t block = 0; block < content.size(); ++block) {
    uint64_t found = 0;
    std::memcpy(&found, raw.data() + block * 1024 + 512, sizeof(found));
    ASSERT_EQ(found, content[block]) << block;
  }
}

TEST_P(DamagedImageTest, ADamagedImageIsReportedOnceAndTheGuestGetsErrors) {
  // The entry of the third cluster is the refcount table.
  const auto made = run_program("qemu-io -f qcow2 -c 'write -P 1 0 6M' " + path_);
  ASSERT_EQ(made.code, 0) << made.output;
  auto bytes = read_file(path_);
  const auto u64 = [&](uint64_t offset) {
    uint64_t value = 0;
    std::memcpy(&value, &bytes[offset], sizeof(value));
    return __builtin_bswap64(value);
  };
  const auto table = u64(u64(40)) & 0x00fffffffffffe00;
  const auto wrong = __builtin_bswap64(u64(48) | 1ull << 63);
  std::memcpy(&bytes[table + 16], &wrong, sizeof(wrong));
  write_file(path_, bytes);
  make_engine();
  std::vector<std::unique_ptr<BlockDriver>> drivers;
  drivers.push_back(std::make_unique<BlockDriver>(ram_, 0));
  auto& driver = *drivers[0];
  start(drivers);
  EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_OUT, 0, {{driver.data, 512}}), VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(driver.transfer(VIRTIO_BLK_T_IN, 0, {{driver.data, 512, true}}), VIRTIO_BLK_S_IOERR);
  const auto reason = faults_.wait();
  EXPECT_NE(reason.find("is the refcount table"), std::string::npos) << reason;
  EXPECT_EQ(faults_.list.size(), 1u);
  engine_.reset();
  EXPECT_TRUE(read_file(path_) == bytes);
}

}  // namespace
}  // namespace tsvmm
