#include "memory/page_server.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <random>
#include <thread>

#include "memory/raw_page_source.h"
#include "memory/testing/page_server_fixture.h"

namespace tsvmm {
namespace {

using namespace std::chrono_literals;
class PageServerTest : public PageServerFixture {};

TEST_P(PageServerTest, ThreadsThatTouchPagesAtRandomSeeWhatWasSaved) {
  start({.threads = 3});
  std::vector<std::future<bool>> readers;
  for (unsigned seed = 0; seed < 4; ++seed) {
    readers.push_back(std::async(std::launch::async, [this, seed] {
      std::minstd_rand random(seed + 1);
      for (int count = 0; count < 3000; ++count) {
        if (!ram_.is_as_saved(random() % FakeRam::kPages)) return false;
      }
      return true;
    }));
  }
  for (auto& reader : readers) EXPECT_TRUE(reader.get());
  EXPECT_TRUE(all_as_saved());
  EXPECT_EQ(server_->counters().missing, 0u);
  EXPECT_GT(server_->counters().faults, 0u);
}

TEST_P(PageServerTest, WritesAreKeptWhoeverBringsThePageIn) {
  start();
  for (uint64_t page = 0; page < FakeRam::kPages; page += 5) ram_.words(page)[1] = page;
  EXPECT_TRUE(fill().get());
  for (uint64_t page = 0; page < FakeRam::kPages; page += 5) {
    EXPECT_EQ(ram_.words(page)[1], page);
    EXPECT_EQ(ram_.words(page)[2], expected_page(page)[2]);
  }
}

TEST_P(PageServerTest, WhatWasRemovedReadsAsZeroes) {
  start();
  EXPECT_TRUE(ram_.is_as_saved(0));
  ASSERT_TRUE(ram_.mapping->discard());
  for (uint64_t page = 0; page < FakeRam::kPages; ++page) ASSERT_TRUE(ram_.is_zero(page)) << page;
  EXPECT_TRUE(fill().get());
  EXPECT_TRUE(ram_.is_zero(1));
}

TEST_P(PageServerTest, WhatIsRemovedWhileItIsReadFromTheImageIsZero) {
  std::promise<void> fault_reads;
  std::promise<void> fill_reads;
  std::promise<void> removed;
  const auto is_removed = removed.get_future().share();
  // A copy, that lives as long as the server's thread: it goes on by way of the kernel, where the sanitizer sees no
  // order.
  source_->before_read = [&fill_reads, &fault_reads, is_removed](uint64_t page) {
    if (page != 0 && page != 2048) return;
    (page == 0 ? fill_reads : fault_reads).set_value();
    is_removed.wait();
  };
  start({.threads = 2});
  auto reader = std::async(std::launch::async, [this] { return ram_.is_zero(2048); });
  fault_reads.get_future().wait();
  auto filled = fill();
  fill_reads.get_future().wait();
  ASSERT_TRUE(ram_.mapping->discard());
  removed.set_value();
  EXPECT_TRUE(reader.get());
  EXPECT_TRUE(filled.get());
  EXPECT_TRUE(ram_.is_zero(0));
  EXPECT_TRUE(ram_.is_zero(2049));
}

TEST_P(PageServerTest, ARemovalIsNeverUndoneByWhatComesInMeanwhile) {
  // Pages of the first half are removed while everybody else brings pages in; nobody writes.
  std::vector<uint32_t> list(FakeRam::kPages);
  for (uint32_t page = 0; page < list.size(); ++page) list[page] = page;
  start({.prefetch = list, .threads = 2});
  auto filled = fill();
  std::atomic<bool> is_over = false;
  auto reader = std::async(std::launch::async, [&] {
    std::minstd_rand random(1);
    for (uint64_t sum = 0; !is_over;) sum += ram_.words(random() % FakeRam::kPages)[0];
    return true;
  });
  const auto how = GetParam().options.shared ? MADV_REMOVE : MADV_DONTNEED;
  const auto is_memory_of_file = GetParam().options.backing == Backing::kMemfd && !GetParam().options.shared;
  std::minstd_rand random(2);
  for (int round = 0; round < 200 && !is_memory_of_file; ++round) {
    const auto first = random() % (FakeRam::kFirstPages / block()) * block();
    ASSERT_EQ(madvise(ram_.at(first), block() * kImagePageSize, how), 0);
    for (auto page = first; page < first + block(); ++page) ASSERT_TRUE(ram_.is_zero(page)) << page;
  }
  EXPECT_TRUE(filled.get());
  is_over = true;
  EXPECT_TRUE(reader.get());
  for (auto page = FakeRam::kFirstPages; page < FakeRam::kPages; ++page) ASSERT_TRUE(ram_.is_as_saved(page)) << page;
}

TEST_P(PageServerTest, FillEndsWithEverythingThere) {
  start();
  EXPECT_TRUE(fill().get());
  const auto counters = server_->counters();
  EXPECT_EQ(counters.missing, 0u);
  EXPECT_EQ(counters.faults, 0u);
  EXPECT_TRUE(all_as_saved());
  EXPECT_EQ(server_->counters().faults, 0u) << "nobody watches any more";
  EXPECT_TRUE(fill().get()) << "what is done is done";
  ASSERT_TRUE(ram_.mapping->discard());
  EXPECT_TRUE(ram_.is_zero(0));
}

TEST_P(PageServerTest, AFillCanBeSlowAndCancelled) {
  start();
  auto slow = fill(4096);
  EXPECT_EQ(server_->fill(0, [](bool) {}).failure().error, EBUSY);
  EXPECT_TRUE(ram_.is_as_saved(FakeRam::kPages / 2));
  server_->cancel_fill();
  EXPECT_FALSE(slow.get());
  EXPECT_GT(server_->counters().missing, 0u);
  EXPECT_TRUE(ram_.is_as_saved(FakeRam::kPages - 600));
  EXPECT_TRUE(fill().get());
  EXPECT_TRUE(all_as_saved());
}

TEST_P(PageServerTest, WhatIsPrefetchedIsNoFault) {
  start({.prefetch = {UINT32_MAX, 2048, 0, FakeRam::kPages, 1}});
  while (server_->counters().prefetched < (GetParam().options.huge_page_size != 0 ? 1024u : 28u)) {
    std::this_thread::sleep_for(1ms);
  }
  EXPECT_TRUE(ram_.is_as_saved(0));
  EXPECT_TRUE(ram_.is_as_saved(1));
  EXPECT_TRUE(ram_.is_as_saved(2048));
  EXPECT_EQ(server_->counters().faults, 0u);
  EXPECT_TRUE(server_->recorded().empty());
}

TEST_P(PageServerTest, FirstTouchesAreRecordedInTheirOrder) {
  start({.threads = 1});
  const std::vector<uint32_t> order = {2048, 0, 3072, 1024};
  for (const auto page : order) {
    EXPECT_TRUE(ram_.is_as_saved(page));
    EXPECT_TRUE(ram_.is_as_saved(page));
  }
  EXPECT_EQ(server_->recorded(), order);
}

TEST_P(PageServerTest, MemoryHasOneServer) {
  start();
  auto second = PageServer::start({.memory = ram_.map, .source = source_, .on_failure = [](const std::string&) {}});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.failure().error, EBUSY);
}

TEST_P(PageServerTest, ARawImageIsReadFromItsOffset) {
  char path[] = "/tmp/tsvmm-image-XXXXXX";
  UniqueFd file(mkstemp(path));
  unlink(path);
  constexpr uint64_t kOffset = 12288;
  const auto missing = FakeRam::kPages - 1;
  ASSERT_EQ(ftruncate(file.get(), static_cast<off_t>(kOffset + missing * kImagePageSize)), 0);
  for (uint64_t page = 0; page < missing; ++page) {
    if (is_zero_page(page)) continue;
    const auto words = expected_page(page);
    ASSERT_EQ(pwrite(file.get(), words.data(), sizeof(words), static_cast<off_t>(kOffset + page * kImagePageSize)),
              static_cast<ssize_t>(sizeof(words)));
  }
  auto source = RawPageSource::open(file.get(), kOffset);
  file.reset();
  start({.source = source.value(), .grace = 50ms});
  const auto whole = missing / block() * block();
  for (uint64_t page = 0; page < whole; ++page) ASSERT_TRUE(ram_.is_as_saved(page)) << page;
  EXPECT_EQ(server_->counters().missing, FakeRam::kPages - whole);
  EXPECT_TRUE(ram_.is_zero(missing)) << "the file ends before it";
  EXPECT_EQ(failure_.get_future().wait_for(0s), std::future_status::ready);
}

INSTANTIATE_TEST_SUITE_P(Memory, PageServerTest, testing::ValuesIn(kKinds),
                         [](const auto& info) { return info.param.name; });

TEST(PageServerRefusalTest, MemoryOfAFileOnDiskIsRefused) {
  char path[] = "/var/tmp/tsvmm-ram-XXXXXX";
  const UniqueFd file(mkstemp(path));
  ASSERT_EQ(ftruncate(file.get(), FakeRam::kPages * kImagePageSize), 0);
  FakeRam ram;
  ASSERT_TRUE(ram.create({.backing = Backing::kFile, .path = path}));
  unlink(path);
  const auto started = PageServer::start(
      {.memory = ram.map, .source = std::make_shared<FakePages>(), .on_failure = [](const std::string&) {}});
  ASSERT_FALSE(started);
  EXPECT_EQ(started.failure().error, EINVAL);
}

}  // namespace
}  // namespace tsvmm
