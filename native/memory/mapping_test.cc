#include "memory/mapping.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

namespace tsvmm {
namespace {

constexpr uint64_t kPage = 4096;
using Backing = MappingOptions::Backing;

size_t resident_pages(const Mapping& mapping) {
  std::vector<unsigned char> pages(mapping.size() / kPage);
  EXPECT_EQ(mincore(mapping.host(), mapping.size(), pages.data()), 0);
  return static_cast<size_t>(std::ranges::count_if(pages, [](unsigned char page) { return (page & 1) != 0; }));
}

// A file that is gone when the test ends.
class TemporaryFile {
 public:
  explicit TemporaryFile(uint64_t size) {
    fd_.reset(mkstemp(path_));
    EXPECT_EQ(ftruncate(fd_.get(), static_cast<off_t>(size)), 0);
  }
  ~TemporaryFile() { unlink(path_); }
  const char* path() const { return path_; }
  char byte_at(uint64_t offset) const {
    char byte = 0;
    EXPECT_EQ(pread(fd_.get(), &byte, 1, static_cast<off_t>(offset)), 1);
    return byte;
  }
  void write_at(uint64_t offset, char byte) { EXPECT_EQ(pwrite(fd_.get(), &byte, 1, static_cast<off_t>(offset)), 1); }

 private:
  char path_[32] = "/tmp/tsvmm-mapping-XXXXXX";
  UniqueFd fd_;
};

TEST(MappingTest, AnonymousMemoryIsZeroAlignedForHugePagesAndHasNoDescriptor) {
  const auto mapping = Mapping::create({.size = 3 * kPage});
  ASSERT_TRUE(mapping);
  EXPECT_EQ(mapping.value()->fd(), -1);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(mapping.value()->host()) % (2 << 20), 0u);
  EXPECT_EQ(mapping.value()->host()[3 * kPage - 1], std::byte{0});
}

TEST(MappingTest, HugePagesThatTheHostHasNotAreAnErrorAtOnce) {
  const uint64_t far_too_many = 1ull << 40;
  for (const bool shared : {false, true}) {
    const auto mapping = Mapping::create({.size = far_too_many,
                                          .backing = Backing::kMemfd,
                                          .shared = shared,
                                          .huge_page_size = 2 << 20,
                                          .reserve = false});
    ASSERT_FALSE(mapping);
    EXPECT_EQ(mapping.failure().error, ENOMEM);
  }
}

TEST(MappingTest, PrefaultMakesEveryPageResident) {
  const auto lazy = Mapping::create({.size = 67 * kPage});
  EXPECT_EQ(resident_pages(*lazy.value()), 0u);
  for (const auto backing : {Backing::kAnonymous, Backing::kMemfd}) {
    const auto eager = Mapping::create({.size = 67 * kPage, .backing = backing, .shared = true, .prefault = true});
    ASSERT_TRUE(eager);
    EXPECT_EQ(resident_pages(*eager.value()), 67u);
  }
}

TEST(MappingTest, DiscardGivesPagesBackWhicheverTheBacking) {
  for (const bool shared : {false, true}) {
    for (const auto backing : {Backing::kAnonymous, Backing::kMemfd}) {
      const auto mapping = Mapping::create({.size = 2 * kPage, .backing = backing, .shared = shared});
      ASSERT_TRUE(mapping);
      mapping.value()->host()[kPage] = std::byte{7};
      ASSERT_TRUE(mapping.value()->discard());
      EXPECT_EQ(mapping.value()->host()[kPage], std::byte{0});
    }
  }
}

TEST(MappingTest, DiscardOfAPartLeavesTheRestAndNothingOfThePart) {
  for (const bool shared : {false, true}) {
    for (const auto backing : {Backing::kAnonymous, Backing::kMemfd}) {
      const auto mapping = Mapping::create({.size = 3 * kPage, .backing = backing, .shared = shared});
      ASSERT_TRUE(mapping);
      for (const auto page : {0, 1, 2}) mapping.value()->host()[page * kPage] = std::byte{7};
      ASSERT_TRUE(mapping.value()->discard(kPage, kPage));
      // A page that a memfd holds would not be missing to userfaultfd, whoever maps it.
      if (backing == Backing::kMemfd) {
        EXPECT_EQ(lseek(mapping.value()->fd(), kPage, SEEK_HOLE), kPage);
      }
      EXPECT_EQ(mapping.value()->host()[0], std::byte{7});
      EXPECT_EQ(mapping.value()->host()[kPage], std::byte{0});
      EXPECT_EQ(mapping.value()->host()[2 * kPage], std::byte{7});
    }
  }
  TemporaryFile file(kPage);
  const auto shown = Mapping::create({.size = kPage, .backing = Backing::kFile, .path = file.path()});
  EXPECT_EQ(shown.value()->discard(0, kPage).failure().error, ENOTSUP);
}

TEST(MappingTest, ASharedMemfdIsSeenThroughItsDescriptor) {
  const auto mapping = Mapping::create({.size = kPage, .backing = Backing::kMemfd, .shared = true});
  mapping.value()->host()[5] = std::byte{9};
  char byte = 0;
  ASSERT_EQ(pread(mapping.value()->fd(), &byte, 1, 5), 1);
  EXPECT_EQ(byte, 9);
}

TEST(MappingTest, AMemfdThatIsThereShowsWhatAnotherMappingOfItHas) {
  const auto first = Mapping::create({.size = 2 * kPage, .backing = Backing::kMemfd, .shared = true});
  ASSERT_TRUE(first);
  first.value()->host()[kPage] = std::byte{7};
  MappingOptions options{.size = 2 * kPage, .backing = Backing::kMemfd, .memfd = first.value()->fd(), .shared = true};
  const auto second = Mapping::create(options);
  ASSERT_TRUE(second);
  EXPECT_NE(second.value()->fd(), first.value()->fd());
  EXPECT_EQ(second.value()->host()[kPage], std::byte{7});
  second.value()->host()[0] = std::byte{8};
  EXPECT_EQ(first.value()->host()[0], std::byte{8});
  EXPECT_EQ(second.value()->untouched(), Mapping::Untouched::kHole);
  options.size = kPage;
  EXPECT_EQ(Mapping::create(options).failure().error, ENXIO);
  options.size = 3 * kPage;
  EXPECT_EQ(Mapping::create(options).failure().error, ENXIO);
  options.memfd = 1'000'000;
  EXPECT_EQ(Mapping::create(options).failure().error, EBADF);
}

TEST(MappingTest, APrivateFileIsReadFromItsOffsetAndNeverWritten) {
  TemporaryFile file(3 * kPage);
  file.write_at(kPage, 1);
  const auto mapping = Mapping::create(
      {.size = 2 * kPage, .backing = Backing::kFile, .path = file.path(), .file_offset = kPage, .prefault = true});
  ASSERT_TRUE(mapping);
  EXPECT_EQ(mapping.value()->host()[0], std::byte{1});
  mapping.value()->host()[0] = std::byte{2};
  EXPECT_EQ(file.byte_at(kPage), 1);
  ASSERT_TRUE(mapping.value()->discard());
  EXPECT_EQ(mapping.value()->host()[0], std::byte{0}) << "memory that is given back is zero, whatever it began as";
  mapping.value()->host()[0] = std::byte{3};
  ASSERT_TRUE(mapping.value()->discard());
  EXPECT_EQ(mapping.value()->host()[0], std::byte{0});
  EXPECT_EQ(file.byte_at(kPage), 1);
}

TEST(MappingTest, ASharedFileIsWritten) {
  TemporaryFile file(kPage);
  const auto mapping = Mapping::create({.size = kPage, .backing = Backing::kFile, .path = file.path(), .shared = true});
  ASSERT_TRUE(mapping);
  mapping.value()->host()[0] = std::byte{2};
  EXPECT_EQ(file.byte_at(0), 2);
}

TEST(MappingTest, AFileThatEndsEarlyIsRefused) {
  TemporaryFile file(2 * kPage);
  const auto map = [&](uint64_t size, uint64_t offset) {
    return Mapping::create({.size = size, .backing = Backing::kFile, .path = file.path(), .file_offset = offset});
  };
  EXPECT_TRUE(map(kPage, kPage));
  EXPECT_EQ(map(2 * kPage, kPage).failure().error, ENXIO);
  EXPECT_EQ(map(kPage, 64 * kPage).failure().error, ENXIO);
  EXPECT_EQ(Mapping::create({.size = kPage, .backing = Backing::kFile, .path = "/nowhere"}).failure().error, ENOENT);
}

TEST(MappingTest, SizesThatAreNoWholePagesAreRefused) {
  EXPECT_EQ(Mapping::create({.size = 0}).failure().error, EINVAL);
  EXPECT_EQ(Mapping::create({.size = kPage + 1}).failure().error, EINVAL);
  EXPECT_EQ(Mapping::create({.size = UINT64_MAX - kPage + 1}).failure().error, EINVAL);
  EXPECT_EQ(Mapping::create({.size = 3 << 20, .huge_page_size = 3 << 20}).failure().error, EINVAL);
  EXPECT_EQ(Mapping::create({.size = kPage, .huge_page_size = 2 << 20}).failure().error, EINVAL);
}

TEST(MappingTest, AdviceAndPlacementAreTaken) {
  EXPECT_TRUE(Mapping::create({.size = 2 << 20, .mergeable = true, .thp = true, .reserve = false}));
  const auto bound = Mapping::create({.size = kPage, .host_numa_node = 0});
  // A kernel without NUMA knows no mbind.
  EXPECT_TRUE(bound.ok() || bound.failure().error == ENOSYS);
  const auto nowhere = Mapping::create({.size = kPage, .host_numa_node = 1000});
  ASSERT_FALSE(nowhere);
  EXPECT_STREQ(nowhere.failure().operation, "mbind");
}

}  // namespace
}  // namespace tsvmm
