// Random rings, seeded: whatever stands in the driver's area, the walker stays within guest RAM (there are guard pages
// around it), ends, and hands out only what was judged.
#include <gtest/gtest.h>

#include <random>

#include "virtio/testing/guest_driver.h"

namespace tsvmm {
namespace {

constexpr uint64_t kRam = 0x8000;
constexpr uint64_t kRamSize = 0x10000;
constexpr uint32_t kQueueSize = 16;
constexpr int kIterations = 200'000;

class RandomRing {
 public:
  explicit RandomRing(uint64_t seed) : random_(seed) {}

  uint64_t below(uint64_t limit) { return random_() % limit; }

  // Mostly in RAM, often at its edges, sometimes anywhere.
  uint64_t address() {
    switch (below(32)) {
      case 0:
        return random_();
      case 1:
        return kRam + kRamSize - below(64);
      case 2:
        return kRam - below(64);
      case 3:
        return UINT64_MAX - below(64);
      default:
        return kRam + below(kRamSize);
    }
  }
  uint32_t length() {
    switch (below(24)) {
      case 0:
        return 0;
      case 1:
        return static_cast<uint32_t>(random_());
      case 2:
        return static_cast<uint32_t>(16 * below(40));
      default:
        return static_cast<uint32_t>(below(1024));
    }
  }
  vring_desc descriptor() {
    constexpr uint16_t kFlags[] = {0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 6, 7};
    const auto flags = below(20) == 0 ? static_cast<uint16_t>(random_()) : kFlags[below(std::size(kFlags))];
    const auto next = below(40) == 0 ? random_() : below(kQueueSize);
    return {address(), length(), flags, static_cast<uint16_t>(next)};
  }

 private:
  std::mt19937_64 random_;
};

TEST(QueueFuzzTest, NoRingMakesTheWalkerLeaveGuestMemory) {
  GuestRam ram(kRam, kRamSize);
  GuestDriver driver(ram, kQueueSize, 0, kRam);
  RandomRing random(20261123);
  std::memset(ram.host, 0x5a, kRamSize);
  Chain chain;
  uint64_t chains = 0;
  uint64_t broken = 0;
  for (int iteration = 0; iteration < kIterations; ++iteration) {
    for (uint32_t index = 0; index < kQueueSize; ++index) *driver.descriptor(index) = random.descriptor();
    // Tables for indirect descriptors that hit them.
    for (int entry = 0; entry < 8; ++entry) {
      ram.at<vring_desc>(kRam + 0x4000)[entry] = random.descriptor();
    }
    if (random.below(2) == 0) {
      driver.set_descriptor(0, kRam + 0x4000, static_cast<uint32_t>(16 * random.below(9)), VRING_DESC_F_INDIRECT);
    }
    const auto position = static_cast<uint16_t>(random.below(65536));
    driver.layout.next_available = driver.layout.next_used = position;
    const auto ahead = random.below(16) == 0 ? random.below(65536) : random.below(kQueueSize + 1);
    for (auto& head : std::span(driver.available_ring()->ring, kQueueSize)) {
      head = static_cast<uint16_t>(random.below(kQueueSize + 1));
    }
    driver.set_available_index(static_cast<uint16_t>(position + ahead));
    const auto features = random.below(4) << 28;
    auto queue = Virtqueue::create(driver.layout, ram.memory, features).value();
    queue.disable_notifications();
    for (;;) {
      const auto popped = queue.pop(chain);
      if (popped != Virtqueue::Pop::kChain) {
        broken += popped == Virtqueue::Pop::kBroken ? 1 : 0;
        break;
      }
      ++chains;
      uint64_t readable = 0;
      uint64_t writable = 0;
      for (const auto& piece : chain.readable()) readable += piece.iov_len;
      for (const auto& piece : chain.writable()) writable += piece.iov_len;
      ASSERT_EQ(readable, chain.readable_bytes);
      ASSERT_EQ(writable, chain.writable_bytes);
      for (const auto& piece : chain.pieces) {
        const auto* start = static_cast<std::byte*>(piece.iov_base);
        ASSERT_GE(start, ram.host);
        ASSERT_LE(start + piece.iov_len, ram.host + kRamSize);
      }
      queue.push(chain.head, static_cast<uint32_t>(writable));
    }
    static_cast<void>(queue.publish());
    static_cast<void>(queue.enable_notifications());
  }
  // The generator must reach both sides.
  EXPECT_GT(chains, 50'000u);
  EXPECT_GT(broken, 50'000u);
}

}  // namespace
}  // namespace tsvmm
