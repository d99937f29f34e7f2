#include <gtest/gtest.h>

#include <random>

#include "migration/testing/transfer.h"

namespace tsvmm::testing {
namespace {

using Pass = MemorySender::Pass;
using Backing = MappingOptions::Backing;

class MemoryTransferTest : public ::testing::TestWithParam<unsigned> {
 protected:
  std::mt19937_64 random_{42};
};
INSTANTIATE_TEST_SUITE_P(Connections, MemoryTransferTest, ::testing::Values(1u, 2u, 5u));

TEST_P(MemoryTransferTest, MemoryArrivesAsItIs) {
  const std::vector<MappingOptions> kinds = {{}, {.backing = Backing::kMemfd, .shared = true}};
  for (const auto& kind : kinds) {
    Ram from(kind);
    Ram to(kind);
    from.scatter(random_);
    Transfer transfer(from, to, GetParam());
    ASSERT_TRUE(transfer.send(Pass::kFirst, all_pages()));
    EXPECT_TRUE(to.contents() == from.contents());
    EXPECT_EQ(transfer.passes(), 1u);
    EXPECT_EQ(transfer.sender().counters().pages_done, kRamPages);
    EXPECT_LT(transfer.sender().bytes_sent(), kRamPages * kPageBytes * 3 / 5);
  }
}

TEST_P(MemoryTransferTest, LaterPassesBringWhatHasChanged) {
  for (const uint64_t delta_bytes : {0ull, 300ull << 10, 64ull << 20}) {
    Ram from;
    Ram to;
    from.scatter(random_);
    Transfer transfer(from, to, GetParam(), delta_bytes);
    ASSERT_TRUE(transfer.send(Pass::kFirst, all_pages()));
    for (unsigned pass = 0; pass < 6; ++pass) {
      const auto dirty = change(from, random_, 300);
      ASSERT_TRUE(transfer.send(Pass::kAgain, dirty));
      ASSERT_TRUE(to.contents() == from.contents()) << pass;
    }
    EXPECT_EQ(transfer.passes(), 7u);
    const auto& counters = transfer.sender().counters();
    EXPECT_EQ(counters.delta > 0, delta_bytes > 0);
  }
}

TEST_P(MemoryTransferTest, ChangesOfPagesTakeLittle) {
  Ram from;
  Ram to;
  PageBitmap dirty(kRamPages);
  for (uint64_t page = 0; page < 512; ++page) {
    for (uint64_t word = 0; word < kPageBytes / 8; ++word)
      reinterpret_cast<uint64_t*>(from.page(page))[word] = random_();
    dirty.set(page);
  }
  Transfer transfer(from, to, GetParam(), 64 << 20);
  ASSERT_TRUE(transfer.send(Pass::kFirst, all_pages()));
  const auto whole = transfer.sender().bytes_sent();
  for (uint64_t page = 0; page < 512; ++page) from.page(page)[page * 7] ^= std::byte{1};
  ASSERT_TRUE(transfer.send(Pass::kAgain, dirty));
  EXPECT_EQ(transfer.sender().counters().delta, 512u);
  EXPECT_LT(transfer.sender().bytes_sent() - whole, 512u * 12);
  EXPECT_TRUE(to.contents() == from.contents());
  // Written, but as they were.
  const auto before = transfer.sender().bytes_sent();
  ASSERT_TRUE(transfer.send(Pass::kAgain, dirty));
  EXPECT_EQ(transfer.sender().counters().same, 512u);
  EXPECT_EQ(transfer.sender().bytes_sent() - before, GetParam() * sizeof(FrameHeader));
}

TEST_P(MemoryTransferTest, UntouchedMemoryTakesNothingOnEitherSide) {
  Ram from;
  Ram to;
  from.fill(3, random_);
  Transfer transfer(from, to, GetParam());
  ASSERT_TRUE(transfer.send(Pass::kFirst, all_pages()));
  EXPECT_LT(transfer.sender().bytes_sent(), 4096u + GetParam() * 200);
  EXPECT_EQ(resident_pages(from.low()), 1u);
  EXPECT_EQ(resident_pages(to.low()), 1u);
  PageBitmap dirty(kRamPages);
  dirty.set(3);
  dirty.set(4);
  from.clear(3);
  ASSERT_TRUE(transfer.send(Pass::kAgain, dirty));
  EXPECT_EQ(resident_pages(to.low()), 1u);
  EXPECT_TRUE(to.contents() == from.contents());
}

TEST_P(MemoryTransferTest, ReceiverThatIsGoneIsTold) {
  Ram from;
  Ram to;
  from.scatter(random_);
  Transfer transfer(from, to, GetParam());
  ASSERT_TRUE(transfer.send(Pass::kFirst, all_pages()));
  transfer.end_receiver();
  const auto sent = transfer.send(Pass::kAgain, all_pages());
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.failure().error, ECONNRESET);
  EXPECT_FALSE(transfer.send(Pass::kAgain, all_pages()));
}

TEST_P(MemoryTransferTest, SenderThatIsGoneIsTold) {
  Ram from;
  Ram to;
  Transfer transfer(from, to, GetParam());
  auto failed = transfer.failed();
  transfer.end_sender();
  EXPECT_EQ(failed.get().error, ECONNRESET);
}

TEST_P(MemoryTransferTest, APassIsCut) {
  Ram from;
  Ram to;
  from.scatter(random_);
  Transfer transfer(from, to, GetParam());
  transfer.sender().set_limit(1 << 20);
  std::promise<Result<>> sent;
  ASSERT_TRUE(transfer.sender().send(Pass::kFirst, all_pages(), [&](Result<> result) { sent.set_value(result); }));
  EXPECT_EQ(transfer.sender().send(Pass::kAgain, all_pages(), [](auto) {}).failure().error, EBUSY);
  transfer.sender().cut();
  EXPECT_EQ(sent.get_future().get().failure().error, ECANCELED);
}

TEST_P(MemoryTransferTest, TheLimitIsKept) {
  Ram from;
  Ram to;
  for (uint64_t page = 0; page < 256; ++page) from.fill(page, random_);
  Transfer transfer(from, to, GetParam());
  constexpr uint64_t kRate = 4 << 20;
  transfer.sender().set_limit(kRate);
  const auto begun = std::chrono::steady_clock::now();
  ASSERT_TRUE(transfer.send(Pass::kFirst, all_pages()));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
  // The last frame of each connection is taken, and not waited for.
  const auto waited_for = transfer.sender().bytes_sent() - std::min<uint64_t>(transfer.sender().bytes_sent(), 1 << 19);
  EXPECT_GT(took.count(), static_cast<double>(waited_for) / static_cast<double>(kRate) - 0.05);
}

}  // namespace
}  // namespace tsvmm::testing
