#include "memory/frozen_image.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <atomic>
#include <csignal>
#include <thread>

#include "memory/testing/image_fixture.h"
#include "memory/testing/unseen_write.h"
#include "sys/thread.h"

namespace tsvmm::testing {
namespace {

using Backing = MappingOptions::Backing;

struct Kind {
  ImageForm form;
  MappingOptions memory;
};

// Threads that write all over memory, as vCPUs and engines do, from the moment at which they are let go.
class Guest {
 public:
  explicit Guest(Ram& ram) {
    for (unsigned number = 0; number < 3; ++number) {
      threads_.push_back(Thread::start({"guest"}, [this, &ram, number] { run(ram, number); }).value());
    }
  }
  ~Guest() { stop(); }
  void go() { is_going_ = true; }
  void stop() {
    is_going_ = true;
    is_stopped_ = true;
    threads_.clear();
  }
  uint64_t writes() const { return writes_; }

 private:
  void run(Ram& ram, unsigned seed) {
    std::mt19937_64 random(seed);
    while (!is_going_) std::this_thread::yield();
    for (uint64_t at = random() % kRamPages; !is_stopped_; at = (at + random() % 9) % kRamPages) {
      if (random() % 4 == 0) {
        write_by_kernel(ram.page(at));
      } else {
        unseen_fill(ram.page(at), std::byte(random() % 3));
      }
      ++writes_;
    }
  }
  // As the data of disks arrive.
  void write_by_kernel(std::byte* page) const {
    EXPECT_EQ(syscall(SYS_read, zeroes_.get(), page, kPageBytes), static_cast<long>(kPageBytes));
  }

  std::atomic<bool> is_going_ = false;
  std::atomic<bool> is_stopped_ = false;
  std::atomic<uint64_t> writes_ = 0;
  const UniqueFd zeroes_{::open("/dev/zero", O_RDONLY | O_CLOEXEC)};
  std::vector<Thread> threads_;
};

void expect_alive(const Guest& guest) {
  for (const auto before = guest.writes(); guest.writes() < before + 100;) std::this_thread::yield();
}

// Without a touch of what nobody touched.
std::vector<std::byte> read_of(Ram& ram) {
  const TemporaryFile file;
  return loaded(*ImageChain::open({write_layer(ram, file, ImageForm::kImage)}).value());
}

class FrozenImageTest : public ::testing::TestWithParam<Kind> {
 protected:
  std::unique_ptr<FrozenImage> prepared(ImageWriter::Options options = {}) {
    options.fd = file_.fd();
    options.form = GetParam().form;
    options.threads = 2;
    writer_ = ImageWriter::create(ram_.memory(), options).value();
    return FrozenImage::prepare(writer_).value();
  }
  std::vector<std::byte> saved() { return loaded(*ImageChain::open({reader_of(*writer_, file_)}).value()); }

  std::mt19937_64 random_{7};
  Ram ram_{GetParam().memory};
  TemporaryFile file_;
  std::shared_ptr<ImageWriter> writer_;
  std::shared_ptr<SpanJob> job_ = std::make_shared<SpanJob>();
};
INSTANTIATE_TEST_SUITE_P(Kinds, FrozenImageTest,
                         ::testing::Values(Kind{ImageForm::kImage, {}}, Kind{ImageForm::kZstd, {}},
                                           Kind{ImageForm::kImage, {.backing = Backing::kMemfd, .shared = true}},
                                           Kind{ImageForm::kImage, {.thp = true}}));

TEST_P(FrozenImageTest, WhatIsWrittenAfterTheInstantIsNotInIt) {
  for (int round = 0; round < 8; ++round) {
    ram_.scatter(random_);
    const auto instant = read_of(ram_);
    const auto frozen = prepared();
    Guest guest(ram_);
    ASSERT_TRUE(frozen->freeze(nullptr, job_));
    guest.go();
    ASSERT_TRUE(frozen->wait());
    EXPECT_TRUE(saved() == instant) << round;
    job_ = std::make_shared<SpanJob>();
  }
}

TEST_P(FrozenImageTest, MemoryThatIsFirstTouchedAfterwardsIsZeroInIt) {
  ram_.fill_last_byte(300);
  const auto frozen = prepared();
  ASSERT_TRUE(frozen->freeze(nullptr, job_));
  // From the end, where the workers come last.
  for (uint64_t page = kRamPages; page-- > 0;) unseen_fill(ram_.page(page), std::byte{5});
  ASSERT_TRUE(frozen->wait());
  EXPECT_EQ(job_->pages_done, kRamPages);
  EXPECT_EQ(job_->bytes_written, kPageBytes);
  std::vector<std::byte> instant(kRamPages * kPageBytes);
  instant[301 * kPageBytes - 1] = std::byte{1};
  EXPECT_TRUE(saved() == instant);
}

TEST_P(FrozenImageTest, OnlyWhatIsAskedForIsHeldAndWritten) {
  ram_.scatter(random_);
  const auto dirty = change(ram_, random_, 60);
  const auto instant = read_of(ram_);
  const auto frozen = prepared();
  Guest guest(ram_);
  ASSERT_TRUE(frozen->freeze(&dirty, job_));
  guest.go();
  ASSERT_TRUE(frozen->wait());
  guest.stop();
  const auto reader = reader_of(*writer_, file_);
  std::array<std::byte, kPageBytes> page{};
  for (uint64_t number = 0; number < kRamPages; ++number) {
    ASSERT_EQ(reader->kind(number) == PageKind::kAbsent, !dirty.test(number));
    if (!dirty.test(number)) continue;
    ASSERT_TRUE(reader->read_page(number, page));
    ASSERT_EQ(std::memcmp(page.data(), instant.data() + number * kPageBytes, kPageBytes), 0) << number;
  }
  EXPECT_EQ(job_->pages_total, dirty.count());
}

TEST_P(FrozenImageTest, WhatIsAsInTheBaseIsLeftOut) {
  ram_.scatter(random_);
  TemporaryFile base_file;
  const auto base = write_layer(ram_, base_file, GetParam().form);
  change(ram_, random_, 100);
  const auto instant = read_of(ram_);
  const auto frozen = prepared({.base = ImageChain::open({base}).value()});
  Guest guest(ram_);
  ASSERT_TRUE(frozen->freeze(nullptr, job_));
  guest.go();
  ASSERT_TRUE(frozen->wait());
  const auto reader = reader_of(*writer_, file_);
  EXPECT_LE(reader->index().present.count(), 100u);
  EXPECT_TRUE(loaded(*ImageChain::open({reader, base}).value()) == instant);
}

TEST_P(FrozenImageTest, AFullDiskLetsEverybodyGo) {
  for (uint64_t page = 0; page < kRamPages; ++page) ram_.fill(page, random_);
  const auto frozen = prepared();
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  auto* handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{1'000'000, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  Guest guest(ram_);
  const auto begun = frozen->freeze(nullptr, job_);
  guest.go();
  const auto written = frozen->wait();
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  ASSERT_TRUE(begun);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.failure().error, EFBIG);
  expect_alive(guest);
  guest.stop();
  const auto instant = read_of(ram_);
  SpanJob job;
  EXPECT_TRUE(writer_->write(nullptr, job)) << "another try is free to succeed";
  EXPECT_TRUE(saved() == instant);
}

TEST_P(FrozenImageTest, CancelledItLetsEverybodyGo) {
  ram_.scatter(random_);
  const auto frozen = prepared();
  job_->is_cancelled = true;
  Guest guest(ram_);
  ASSERT_TRUE(frozen->freeze(nullptr, job_));
  guest.go();
  EXPECT_EQ(frozen->wait().failure().error, ECANCELED);
  expect_alive(guest);
}

TEST_P(FrozenImageTest, GivenUpItLetsEverybodyGo) {
  ram_.scatter(random_);
  auto frozen = prepared();
  Guest guest(ram_);
  ASSERT_TRUE(frozen->freeze(nullptr, job_));
  guest.go();
  frozen.reset();
  expect_alive(guest);
  SpanJob job;
  EXPECT_TRUE(writer_->write(nullptr, job)) << "the pass is over";
}

TEST_P(FrozenImageTest, ItIsOnePassAndOnce) {
  const auto frozen = prepared();
  const PageBitmap other(kRamPages - 1);
  EXPECT_EQ(frozen->freeze(&other, job_).failure().error, EINVAL);
  ASSERT_TRUE(writer_->begin());
  EXPECT_EQ(frozen->freeze(nullptr, job_).failure().error, EBUSY);
  writer_->end();
  ASSERT_TRUE(frozen->freeze(nullptr, job_));
  EXPECT_EQ(frozen->freeze(nullptr, job_).failure().error, EINVAL);
  SpanJob job;
  EXPECT_EQ(writer_->write(nullptr, job).failure().error, EBUSY);
  ASSERT_TRUE(frozen->wait());
  EXPECT_TRUE(writer_->index());
}

}  // namespace
}  // namespace tsvmm::testing
