#include "virtio/queue.h"

#include <gtest/gtest.h>

#include <set>

#include "io/pieces.h"
#include "virtio/testing/dirty_check.h"
#include "virtio/testing/guest_driver.h"

namespace tsvmm {
namespace {

constexpr uint64_t kRam = 0x10000;
constexpr uint64_t kRamSize = 0x100000;
constexpr uint64_t kRings = kRam;
constexpr uint64_t kData = kRam + 0x80000;
constexpr uint64_t kBoth = kFeatureIndirectDescriptors | kFeatureEventIndex;

class QueueTest : public testing::Test {
 protected:
  // Offers head 0 and expects that the walker refuses it with a reason that contains `reason`.
  void expect_broken(GuestDriver& driver, const std::string& reason) {
    driver.offer(0);
    auto queue = driver.queue();
    Chain chain;
    EXPECT_EQ(queue.pop(chain), Virtqueue::Pop::kBroken);
    ASSERT_NE(queue.failure(), nullptr);
    EXPECT_NE(std::string(queue.failure()).find(reason), std::string::npos) << queue.failure();
    EXPECT_EQ(queue.next_available(), driver.layout.next_available);
    EXPECT_EQ(queue.pop(chain), Virtqueue::Pop::kBroken);
    EXPECT_FALSE(queue.has_available());
  }

  GuestRam ram_{kRam, kRamSize};
};

TEST_F(QueueTest, HandsOutReadableThenWritablePiecesAndCountsThem) {
  GuestDriver driver(ram_, 8, 0, kRings);
  const auto head =
      driver.add({{kData, 16}, {kData + 0x1000, 0}, {kData + 0x2000, 512, true}, {kData + 0x3000, 1, true}});
  auto queue = driver.queue();
  Chain chain;
  ASSERT_EQ(queue.pop(chain), Virtqueue::Pop::kChain);
  EXPECT_EQ(chain.head, head);
  EXPECT_EQ(chain.readable_bytes, 16u);
  EXPECT_EQ(chain.writable_bytes, 513u);
  ASSERT_EQ(chain.pieces.size(), 3u) << "an empty descriptor is no piece";
  EXPECT_EQ(chain.readable().size(), 1u);
  EXPECT_EQ(chain.pieces[1].iov_base, ram_.at<void>(kData + 0x2000));
  EXPECT_EQ(chain.ranges[2].address, kData + 0x3000);
  EXPECT_EQ(queue.pop(chain), Virtqueue::Pop::kEmpty);
  queue.push(head, 513);
  EXPECT_EQ(driver.used_index(), 0) << "not before publish";
  EXPECT_TRUE(queue.publish());
  vring_used_elem element{};
  ASSERT_TRUE(driver.take_used(element));
  EXPECT_EQ(element.id, head);
  EXPECT_EQ(element.len, 513u);
}

TEST_F(QueueTest, AZeroLengthDescriptorMayPointAnywhere) {
  GuestDriver driver(ram_, 8, 0, kRings);
  driver.add({{~0ull, 0}, {kData, 4}, {0, 0, true}});
  auto queue = driver.queue();
  Chain chain;
  ASSERT_EQ(queue.pop(chain), Virtqueue::Pop::kChain);
  EXPECT_EQ(chain.readable_bytes, 4u);
  EXPECT_EQ(chain.writable_bytes, 0u);
}

TEST_F(QueueTest, ADescriptorThatPointsToItselfIsALoop) {
  GuestDriver driver(ram_, 8, 0, kRings);
  driver.set_descriptor(0, kData, 16, VRING_DESC_F_NEXT, 0);
  expect_broken(driver, "loops");
}

TEST_F(QueueTest, AWholeQueueInACircleIsALoop) {
  GuestDriver driver(ram_, 8, 0, kRings);
  for (uint16_t index = 0; index < 8; ++index) {
    driver.set_descriptor(index, kData, 16, VRING_DESC_F_NEXT, (index + 1) % 8);
  }
  expect_broken(driver, "loops");
}

TEST_F(QueueTest, AChainAsLongAsTheQueueIsNoLoop) {
  GuestDriver driver(ram_, 8, 0, kRings);
  std::vector<GuestBuffer> buffers(8, GuestBuffer{kData, 16});
  driver.offer(driver.chain(buffers));
  auto queue = driver.queue();
  Chain chain;
  ASSERT_EQ(queue.pop(chain), Virtqueue::Pop::kChain);
  EXPECT_EQ(chain.readable_bytes, 128u);
}

TEST_F(QueueTest, AHeadOutsideTheTableIsRefused) {
  GuestDriver driver(ram_, 8, 0, kRings);
  driver.offer(8);
  auto queue = driver.queue();
  Chain chain;
  EXPECT_EQ(queue.pop(chain), Virtqueue::Pop::kBroken);
  EXPECT_STREQ(queue.failure(), "a chain's head is outside the descriptor table");
}

TEST_F(QueueTest, ANextOutsideTheTableIsRefused) {
  GuestDriver driver(ram_, 8, 0, kRings);
  driver.set_descriptor(0, kData, 16, VRING_DESC_F_NEXT, 8);
  expect_broken(driver, "next is outside the descriptor table");
}

TEST_F(QueueTest, ABufferOutsideRamIsRefused) {
  for (const auto& [address, length] : std::initializer_list<std::pair<uint64_t, uint32_t>>{{0, 16},
                                                                                            {kRam - 1, 2},
                                                                                            {kRam + kRamSize - 1, 2},
                                                                                            {kRam + kRamSize, 1},
                                                                                            {UINT64_MAX - 7, 16},
                                                                                            {UINT64_MAX, 1},
                                                                                            {kRam, UINT32_MAX}}) {
    GuestDriver driver(ram_, 8, 0, kRings);
    driver.set_descriptor(0, address, length, 0);
    expect_broken(driver, "outside guest memory");
    driver.set_descriptor(0, address, length, VRING_DESC_F_WRITE);
    auto again = GuestDriver(ram_, 8, 0, kRings);
    expect_broken(again, "outside guest memory");
  }
}

TEST_F(QueueTest, TheLastByteOfRamIsFine) {
  GuestDriver driver(ram_, 8, 0, kRings);
  driver.add({{kRam + kRamSize - 1, 1}});
  auto queue = driver.queue();
  Chain chain;
  EXPECT_EQ(queue.pop(chain), Virtqueue::Pop::kChain);
}

TEST_F(QueueTest, AReadableDescriptorBehindAWritableOneIsRefused) {
  GuestDriver driver(ram_, 8, 0, kRings);
  driver.set_descriptor(0, kData, 16, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1);
  driver.set_descriptor(1, kData, 16, 0);
  expect_broken(driver, "readable descriptor behind a writable one");
}

TEST_F(QueueTest, AnIndexMoreThanTheQueueSizeAheadIsRefused) {
  GuestDriver driver(ram_, 8, 0, kRings, 65530);
  driver.set_available_index(static_cast<uint16_t>(65530 + 9));
  auto queue = driver.queue();
  Chain chain;
  EXPECT_TRUE(queue.has_available()) << "pop() shall tell";
  EXPECT_EQ(queue.pop(chain), Virtqueue::Pop::kBroken);
  EXPECT_STREQ(queue.failure(), "the available index runs ahead by more than the queue size");
}

TEST_F(QueueTest, AnIndexThatGoesBackIsRefused) {
  GuestDriver driver(ram_, 8, 0, kRings, 5);
  driver.set_available_index(4);
  auto queue = driver.queue();
  Chain chain;
  EXPECT_EQ(queue.pop(chain), Virtqueue::Pop::kBroken);
}

TEST_F(QueueTest, FourGibibytesInOneChainAreRefused) {
  constexpr uint64_t kHuge = 1ull << 30;
  GuestRam huge(1ull << 32, kHuge, ram_.memory);
  GuestDriver driver(ram_, 8, 0, kRings);
  for (uint16_t index = 0; index < 4; ++index) {
    driver.set_descriptor(index, huge.address, kHuge, index < 3 ? VRING_DESC_F_NEXT : 0, index + 1);
  }
  expect_broken(driver, "4 GiB or more");
  driver.set_descriptor(3, huge.address, kHuge - 1, 0);
  auto queue = driver.queue();
  Chain chain;
  EXPECT_EQ(queue.pop(chain), Virtqueue::Pop::kChain) << "one byte less is fine";
}

TEST_F(QueueTest, IndirectTablesAreFollowed) {
  GuestDriver driver(ram_, 4, kBoth, kRings);
  const std::vector<GuestBuffer> buffers(40, GuestBuffer{kData, 16});
  auto queue = driver.queue();
  for (const uint64_t table : {kRam + 0x40000, kRam + 0x50003}) {
    driver.add_indirect(table, buffers);
    Chain chain;
    ASSERT_EQ(queue.pop(chain), Virtqueue::Pop::kChain) << "longer than the queue, and once not aligned";
    EXPECT_EQ(chain.pieces.size(), 40u);
  }
}

TEST_F(QueueTest, AnIndirectDescriptorMayEndAChain) {
  GuestDriver driver(ram_, 4, kBoth, kRings);
  ram_.at<vring_desc>(kData)[0] = {kData + 64, 8, VRING_DESC_F_WRITE, 0};
  driver.set_descriptor(0, kData, 16, VRING_DESC_F_NEXT, 1);
  driver.set_descriptor(1, kData, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE);
  driver.offer(0);
  auto queue = driver.queue();
  Chain chain;
  ASSERT_EQ(queue.pop(chain), Virtqueue::Pop::kChain);
  EXPECT_EQ(chain.readable_bytes, 16u);
  EXPECT_EQ(chain.writable_bytes, 8u);
}

TEST_F(QueueTest, HostileIndirectTablesAreRefused) {
  constexpr uint64_t kTable = kRam + 0x40000;
  auto* table = ram_.at<vring_desc>(kTable);
  table[0] = {kData, 16, 0, 0};
  const struct {
    uint64_t address;
    uint32_t length;
    uint16_t flags;
    const char* reason;
  } references[] = {
      {kTable, 0, 0, "not a multiple of 16"},
      {kTable, 17, 0, "not a multiple of 16"},
      {kTable, 16, VRING_DESC_F_NEXT, "with a next one"},
      {kTable, 16 * 1025, 0, "too long"},
      {kTable, UINT32_MAX & ~15u, 0, "too long"},
      {kRam + kRamSize - 8, 16, 0, "outside guest memory"},
      {UINT64_MAX - 7, 16, 0, "outside guest memory"},
  };
  for (const auto& reference : references) {
    GuestDriver driver(ram_, 4, kBoth, kRings);
    driver.set_descriptor(0, reference.address, reference.length, VRING_DESC_F_INDIRECT | reference.flags, 1);
    expect_broken(driver, reference.reason);
  }
  const struct {
    vring_desc entry;
    const char* reason;
  } entries[] = {
      {{kTable, 16, VRING_DESC_F_INDIRECT, 0}, "inside an indirect table"},
      {{kData, 16, VRING_DESC_F_NEXT, 1}, "outside its indirect table"},
      {{kData, 16, VRING_DESC_F_NEXT, 0}, "loops"},
  };
  for (const auto& [entry, reason] : entries) {
    table[0] = entry;
    GuestDriver driver(ram_, 4, kBoth, kRings);
    driver.set_descriptor(0, kTable, 16, VRING_DESC_F_INDIRECT);
    expect_broken(driver, reason);
  }
  table[0] = {kData, 16, 0, 0};
  GuestDriver driver(ram_, 4, 0, kRings);
  driver.set_descriptor(0, kTable, 16, VRING_DESC_F_INDIRECT);
  expect_broken(driver, "not negotiated");
}

TEST_F(QueueTest, RefusesRingsThatCannotBe) {
  const GuestDriver driver(ram_, 8, 0, kRings);
  const auto refuses = [&](auto&& change) {
    auto layout = driver.layout;
    change(layout);
    const auto queue = Virtqueue::create(layout, ram_.memory, 0);
    EXPECT_FALSE(queue.ok());
    return queue.ok() ? std::string() : std::string(queue.failure().operation);
  };
  for (const uint32_t size : {0u, 3u, 65536u}) {
    EXPECT_NE(refuses([&](VringLayout& layout) { layout.size = size; }).find("power of two"), std::string::npos);
  }
  refuses([](VringLayout& layout) { layout.descriptor_table += 8; });
  refuses([](VringLayout& layout) { layout.available_ring += 1; });
  refuses([](VringLayout& layout) { layout.used_ring += 2; });
  refuses([](VringLayout& layout) { layout.descriptor_table = 0; });
  refuses([](VringLayout& layout) { layout.available_ring = kRam + kRamSize - 16; });
  refuses([](VringLayout& layout) { layout.used_ring = UINT64_MAX - 3; });
  refuses([](VringLayout& layout) { layout.used_ring = kRam + kRamSize - 64; });
}

TEST_F(QueueTest, IndicesWrapAround) {
  GuestDriver driver(ram_, 8, kBoth, kRings, 65000);
  auto queue = driver.queue();
  Chain chain;
  for (int round = 0; round < 3000; ++round) {
    const auto head = driver.add({{kData, 16}});
    ASSERT_EQ(queue.pop(chain), Virtqueue::Pop::kChain) << round;
    ASSERT_EQ(queue.pop(chain), Virtqueue::Pop::kEmpty);
    queue.push(head, 1);
    EXPECT_TRUE(queue.publish()) << round;
    vring_used_elem element{};
    ASSERT_TRUE(driver.take_used(element));
    ASSERT_EQ(element.id, head);
  }
  EXPECT_EQ(queue.next_available(), static_cast<uint16_t>(65000 + 3000));
  EXPECT_EQ(queue.next_used(), queue.next_available());
}

TEST_F(QueueTest, InterruptsFollowTheUsedEvent) {
  GuestDriver driver(ram_, 8, kFeatureEventIndex, kRings, 65534);
  auto queue = driver.queue();
  Chain chain;
  const auto serve = [&](int count) {
    for (int number = 0; number < count; ++number) {
      driver.offer(0);
      EXPECT_EQ(queue.pop(chain), Virtqueue::Pop::kChain);
      queue.push(0, 0);
    }
    return queue.publish();
  };
  driver.set_descriptor(0, kData, 16, 0);
  driver.set_used_event(100);
  EXPECT_TRUE(serve(1)) << "the first after a start";
  EXPECT_FALSE(serve(1));
  driver.set_used_event(2);
  EXPECT_FALSE(serve(2)) << "65536 + 0, 1";
  EXPECT_TRUE(serve(1)) << "index 2 is the event";
  EXPECT_FALSE(serve(3));
  driver.set_used_event(7);
  EXPECT_TRUE(serve(4)) << "6 to 9, over the event";
  EXPECT_FALSE(queue.publish()) << "nothing was pushed";
}

TEST_F(QueueTest, WithoutEventsTheInterruptFlagCounts) {
  GuestDriver driver(ram_, 8, 0, kRings);
  auto queue = driver.queue();
  driver.available_ring()->flags = VRING_AVAIL_F_NO_INTERRUPT;
  queue.push(0, 0);
  EXPECT_FALSE(queue.publish());
  driver.available_ring()->flags = 0;
  queue.push(0, 0);
  EXPECT_TRUE(queue.publish());
}

TEST_F(QueueTest, NotificationsAreAskedForAtTheNextChain) {
  GuestDriver driver(ram_, 8, kFeatureEventIndex, kRings, 7);
  driver.set_descriptor(0, kData, 16, 0);
  auto queue = driver.queue();
  EXPECT_FALSE(queue.enable_notifications());
  EXPECT_EQ(driver.available_event(), 7);
  driver.offer(0);
  EXPECT_TRUE(queue.enable_notifications()) << "one came in the meantime";
  Chain chain;
  ASSERT_EQ(queue.pop(chain), Virtqueue::Pop::kChain);
  EXPECT_FALSE(queue.enable_notifications());
  EXPECT_EQ(driver.available_event(), 8);

  GuestDriver plain(ram_, 8, 0, kRings + 0x10000);
  auto other = plain.queue();
  other.disable_notifications();
  EXPECT_EQ(plain.used_ring()->flags, VRING_USED_F_NO_NOTIFY);
  EXPECT_FALSE(other.enable_notifications());
  EXPECT_EQ(plain.used_ring()->flags, 0);
}

TEST_F(QueueTest, WhatIsUnpoppedIsPoppedAgain) {
  GuestDriver driver(ram_, 8, 0, kRings);
  const auto first = driver.add({{kData, 1}});
  const auto second = driver.add({{kData, 2}});
  auto queue = driver.queue();
  Chain chain;
  ASSERT_EQ(queue.pop(chain), Virtqueue::Pop::kChain);
  ASSERT_EQ(queue.pop(chain), Virtqueue::Pop::kChain);
  queue.unpop(2);
  ASSERT_EQ(queue.pop(chain), Virtqueue::Pop::kChain);
  EXPECT_EQ(chain.head, first);
  ASSERT_EQ(queue.pop(chain), Virtqueue::Pop::kChain);
  EXPECT_EQ(chain.head, second);
}

TEST_F(QueueTest, ABufferOverTwoRunsOfRamBecomesTwoPieces) {
  GuestRam next(kRam + kRamSize, 0x10000, ram_.memory);
  GuestDriver driver(ram_, 8, 0, kRings);
  driver.add({{kRam + kRamSize - 100, 300, true}});
  auto queue = driver.queue();
  Chain chain;
  ASSERT_EQ(queue.pop(chain), Virtqueue::Pop::kChain);
  ASSERT_EQ(chain.pieces.size(), 2u);
  EXPECT_EQ(chain.pieces[0].iov_len, 100u);
  EXPECT_EQ(chain.pieces[1].iov_base, next.host);
  EXPECT_EQ(chain.ranges[1].address, next.address);
}

TEST_F(QueueTest, RamAddedLaterIsFound) {
  GuestDriver driver(ram_, 8, 0, kRings);
  auto queue = driver.queue();
  GuestRam later(1ull << 32, 0x10000, ram_.memory);
  driver.add({{later.address, 64, true}});
  Chain chain;
  ASSERT_EQ(queue.pop(chain), Virtqueue::Pop::kChain);
  EXPECT_EQ(chain.pieces[0].iov_base, later.host);
}

TEST_F(QueueTest, RamRemovedIsNotReachedAfterItsAdoption) {
  auto later = std::make_unique<GuestRam>(1ull << 32, 0x10000, ram_.memory);
  GuestDriver driver(ram_, 8, 0, kRings);
  auto queue = driver.queue();
  driver.add({{later->address, 64, true}});
  Chain chain;
  ASSERT_EQ(queue.pop(chain), Virtqueue::Pop::kChain);
  ASSERT_TRUE(ram_.memory->remove(later->address).ok());
  later.reset();
  EXPECT_TRUE(queue.memory_changed());
  queue.adopt_memory();
  copy_to_pieces(chain.writable(), 0, "still mapped", 12);
  queue.release_memory();
  driver.add({{1ull << 32, 64, true}});
  EXPECT_EQ(queue.pop(chain), Virtqueue::Pop::kBroken);
}

using Pages = std::set<uint64_t>;

TEST_F(QueueTest, MarksWhatAChainsOwnerSaysItWrote) {
  GuestDriver driver(ram_, 8, 0, kRings);
  driver.add({{kData, 8}, {kData + 0x1ff0, 0x20, true}, {kData + 0x4000, 100, true}, {kData + 0x5000, 1, true}});
  auto queue = driver.queue();
  Chain chain;
  ASSERT_EQ(queue.pop(chain), Virtqueue::Pop::kChain);
  const DirtyCheck check(ram_, kRamSize);
  queue.mark_written(chain, 0);
  EXPECT_EQ(check.marked(), Pages{});
  queue.mark_written(chain, 0x10);
  EXPECT_EQ(check.marked(), Pages{kData + 0x1000});
  queue.mark_written(chain, 0x20 + 100);
  EXPECT_EQ(check.marked(), (Pages{kData + 0x1000, kData + 0x2000, kData + 0x4000}));
}

// 1024 elements: flags, index and the first of them on page 0, the event behind the last on page 2.
TEST_F(QueueTest, MarksThePagesOfTheUsedRingThatItWrote) {
  for (const uint64_t features : {uint64_t{0}, kFeatureEventIndex}) {
    GuestDriver driver(ram_, 1024, features, kRings, 600);
    const auto ring = driver.layout.used_ring;
    auto queue = driver.queue();
    const auto serve = [&](int count) {
      Chain chain;
      for (int number = 0; number < count; ++number) {
        driver.add({{kData, 8, true}});
        ASSERT_EQ(queue.pop(chain), Virtqueue::Pop::kChain);
        queue.push(chain.head, 0);
      }
      static_cast<void>(queue.publish());
      vring_used_elem element{};
      while (driver.take_used(element)) {
      }
    };
    const DirtyCheck check(ram_, kRamSize);
    serve(1);
    EXPECT_EQ(check.marked(), (Pages{ring, ring + 0x1000})) << "the index, and element 600";
    static_cast<void>(queue.publish());
    EXPECT_EQ(check.marked(), Pages{}) << "nothing to publish";
    serve(423);
    EXPECT_EQ(check.marked(), (Pages{ring, ring + 0x1000, ring + 0x2000})) << "element 1023 ends on page 2";
    serve(20);
    EXPECT_EQ(check.marked(), Pages{ring});
    queue.disable_notifications();
    EXPECT_EQ(check.marked(), features == 0 ? Pages{ring} : Pages{});
    EXPECT_FALSE(queue.enable_notifications());
    EXPECT_EQ(check.marked(), features == 0 ? Pages{ring} : Pages{ring + 0x2000});
    // Over the end of the ring and into its begin.
    serve(1010);
    EXPECT_EQ(check.marked(), (Pages{ring, ring + 0x1000, ring + 0x2000}));
  }
}

TEST_F(QueueTest, AFailedQueueIsNotWrittenAnyMore) {
  GuestDriver driver(ram_, 8, 0, kRings);
  auto queue = driver.queue();
  queue.give_up("malformed");
  const DirtyCheck check(ram_, kRamSize);
  queue.disable_notifications();
  EXPECT_FALSE(queue.enable_notifications());
  EXPECT_EQ(check.marked(), Pages{});
  EXPECT_EQ(check.changed(), Pages{});
}

}  // namespace
}  // namespace tsvmm
