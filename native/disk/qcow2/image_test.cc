#include "disk/qcow2/image.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "disk/raw_image.h"
#include "disk/testing/image_check.h"
#include "disk/testing/qemu_img.h"

namespace tsvmm::qcow2 {
namespace {

constexpr uint64_t kDiskBytes = 6ull << 20;

struct Kind {
  const char* name;
  const char* options;
  bool direct = false;
};

void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }

// A pattern with holes, so that all kinds of clusters are there.
std::string pattern(uint64_t bytes, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string content(bytes, 0);
  for (uint64_t start = 0; start < bytes;) {
    const auto length = std::min<uint64_t>(bytes - start, (1 + random() % 400) * 512);
    if (random() % 3 != 0) {
      const bool compressible = random() % 2 == 0;
      const auto letter = static_cast<char>('a' + random() % 26);
      for (auto at = start; at < start + length; ++at)
        content[at] = compressible ? letter : static_cast<char>(random());
    }
    start += length;
  }
  return content;
}

class Qcow2Test : public testing::TestWithParam<Kind> {
 protected:
  std::unique_ptr<Image> open_image(const std::string& path, bool read_only = false) {
    const bool direct = GetParam().direct;
    const int flags = (read_only ? O_RDONLY : O_RDWR) | (direct ? O_DIRECT : 0) | O_CLOEXEC;
    const UniqueFd fd(open(path.c_str(), flags));
    EXPECT_TRUE(fd.is_open()) << path;
    auto image = Image::open(fd.get(), {.read_only = read_only, .alignment = direct ? 4096u : 1u});
    EXPECT_TRUE(image.ok()) << (image.ok() ? "" : image.failure().reason);
    return image ? std::move(image).value() : nullptr;
  }
  std::shared_ptr<RawImage> open_raw(const std::string& path) {
    const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat status;
    fstat(fd.get(), &status);
    const auto size = static_cast<uint64_t>(status.st_size);
    return std::make_shared<RawImage>(DiskAccess::create(fd.get(), {.size = size, .read_only = true}).value());
  }
  // What QEMU reads of it.
  std::string converted(const std::string& path) {
    const auto raw = folder_.path("converted");
    make_with_qemu_img("convert -f qcow2 -O raw " + path + " " + raw);
    return read_file(raw);
  }
  std::string options() const { return std::string(" -o ") + GetParam().options; }

  Folder folder_;
};

constexpr Kind kPlain{"Plain", "compat=1.1"};
constexpr Kind kDirect{"Direct", "compat=1.1", true};
constexpr Kind kVersion2{"Version2", "compat=0.10"};
constexpr Kind kSmall{"SmallClusters", "cluster_size=512"};
constexpr Kind kLarge{"LargeClusters", "cluster_size=2M"};
constexpr Kind kManyBits{"ManyBits", "cluster_size=4k,refcount_bits=64"};
constexpr Kind kOneBit{"OneBit", "cluster_size=4k,refcount_bits=1"};
constexpr Kind kTwoBits{"TwoBits", "cluster_size=512,refcount_bits=2"};
constexpr Kind kLazy{"Lazy", "lazy_refcounts=on"};
constexpr Kind kZstd{"Zstd", "compression_type=zstd"};
constexpr Kind kPreallocated{"Preallocated", "preallocation=metadata"};

const auto name_of = [](const auto& info) { return info.param.name; };

INSTANTIATE_TEST_SUITE_P(All, Qcow2Test,
                         testing::Values(kPlain, kDirect, kVersion2, kSmall, kLarge, kManyBits, kOneBit, kTwoBits,
                                         kLazy, kZstd, kPreallocated),
                         name_of);

// QEMU makes none of these that are preallocated.
class Qcow2SourceTest : public Qcow2Test {};
INSTANTIATE_TEST_SUITE_P(All, Qcow2SourceTest,
                         testing::Values(kPlain, kDirect, kVersion2, kSmall, kLarge, kManyBits, kOneBit, kTwoBits,
                                         kLazy, kZstd),
                         name_of);

// Refcounts of one bit have no room for snapshots.
class Qcow2SnapshotTest : public Qcow2Test {};
INSTANTIATE_TEST_SUITE_P(All, Qcow2SnapshotTest,
                         testing::Values(kPlain, kDirect, kVersion2, kSmall, kLarge, kManyBits, kTwoBits, kLazy,
                                         kPreallocated),
                         name_of);

TEST_P(Qcow2Test, WhatAGuestDoesIsThereForQemu) {
  const auto path = folder_.path("disk.qcow2");
  make_with_qemu_img("create -q -f qcow2 " + options() + " " + path + " " + std::to_string(kDiskBytes + 512));
  auto image = open_image(path);
  ASSERT_EQ(image->size(), kDiskBytes + 512);
  ImageCheck check(*image, std::string(kDiskBytes + 512, 0), 1);
  for (int round = 0; round < 3; ++round) {
    for (int step = 0; step < 120; ++step) check.step();
    ASSERT_TRUE(check.is_same()) << round;
    ASSERT_EQ(image->settle(), 0);
    // Refcounts of what was given up may still stand.
    EXPECT_EQ(damage_of(path, Leaks::kAllowed), "");
    EXPECT_TRUE(converted(path) == check.content);
  }
  EXPECT_EQ(image->take_fault(), "");
  image.reset();
  EXPECT_EQ(damage_of(path), "");
  EXPECT_TRUE(converted(path) == check.content);
}

TEST_P(Qcow2SourceTest, CompressedImagesAreReadAndWritten) {
  const auto raw = folder_.path("raw");
  const auto path = folder_.path("disk.qcow2");
  const auto content = pattern(kDiskBytes, 2);
  write_file(raw, content);
  make_with_qemu_img("convert -c -f raw -O qcow2 " + options() + " " + raw + " " + path);
  auto image = open_image(path);
  ImageCheck check(*image, content, 3);
  ASSERT_TRUE(check.is_same());
  for (int step = 0; step < 120; ++step) check.step();
  ASSERT_TRUE(check.is_same());
  EXPECT_EQ(image->take_fault(), "");
  image.reset();
  EXPECT_EQ(damage_of(path), "");
  EXPECT_TRUE(converted(path) == check.content);
}

TEST_P(Qcow2SnapshotTest, SnapshotsInsideTheFileStayAsTheyAre) {
  const auto raw = folder_.path("raw");
  const auto path = folder_.path("disk.qcow2");
  const auto content = pattern(kDiskBytes, 4);
  write_file(raw, content);
  make_with_qemu_img("convert -f raw -O qcow2 " + options() + " " + raw + " " + path);
  make_with_qemu_img("snapshot -c one " + path);
  std::string second = content;
  for (const bool first : {true, false}) {
    auto image = open_image(path);
    ImageCheck check(*image, second, 5);
    for (int step = 0; step < 100; ++step) check.step();
    ASSERT_TRUE(check.is_same());
    second = check.content;
    image.reset();
    EXPECT_EQ(damage_of(path), "");
    if (first) make_with_qemu_img("snapshot -c two " + path);
  }
  const auto of_one = folder_.path("of-one");
  make_with_qemu_img("convert -f qcow2 -O raw -l one " + path + " " + of_one);
  EXPECT_TRUE(read_file(of_one) == content);
  EXPECT_TRUE(converted(path) == second);
}

TEST_P(Qcow2SourceTest, BackingFilesShowThroughAndStay) {
  const auto base = folder_.path("base");
  const auto middle = folder_.path("middle.qcow2");
  const auto path = folder_.path("disk.qcow2");
  // Smaller than what stands on it, and not of whole clusters.
  const auto content = pattern(kDiskBytes / 2 + 1536, 6);
  write_file(base, content);
  const auto size = std::to_string(kDiskBytes);
  make_with_qemu_img("create -q -f qcow2 -b " + base + " -F raw " + middle + " " + size);
  make_with_qemu_img("create -q -f qcow2 -b " + middle + " -F qcow2 " + options() + " " + path + " " + size);
  make_with_qemu_img("rebase -u -f qcow2 -b " + middle + " -F qcow2 " + path);
  ASSERT_EQ(run_program("qemu-io -f qcow2 -c 'write -P 7 1M 300k' " + middle).code, 0);
  const auto before = read_file(middle);
  auto expected = content + std::string(kDiskBytes - content.size(), 0);
  expected.replace(1 << 20, 300 << 10, std::string(300 << 10, 7));

  const std::shared_ptr<Image> backing = open_image(middle, true);
  EXPECT_EQ(backing->header().backing_file, base);
  EXPECT_EQ(backing->header().backing_format, "raw");
  backing->set_backing(open_raw(base));
  auto image = open_image(path);
  EXPECT_EQ(image->header().backing_file, middle);
  image->set_backing(backing);
  ImageCheck check(*image, expected, 7);
  ASSERT_TRUE(check.is_same());
  for (int step = 0; step < 150; ++step) check.step();
  ASSERT_TRUE(check.is_same());
  image.reset();
  EXPECT_EQ(damage_of(path), "");
  EXPECT_TRUE(converted(path) == check.content);
  EXPECT_TRUE(read_file(middle) == before);
  EXPECT_TRUE(read_file(base) == content);
}

TEST_P(Qcow2Test, ReadOnlyChangesNothing) {
  const auto raw = folder_.path("raw");
  const auto path = folder_.path("disk.qcow2");
  const auto content = pattern(kDiskBytes, 8);
  write_file(raw, content);
  make_with_qemu_img("convert -f raw -O qcow2 " + options() + " " + raw + " " + path);
  const auto before = read_file(path);
  auto image = open_image(path, true);
  ImageCheck check(*image, content, 9);
  EXPECT_TRUE(check.is_same());
  EXPECT_EQ(image->flush(), 0);
  image.reset();
  EXPECT_TRUE(read_file(path) == before);
}

}  // namespace
}  // namespace tsvmm::qcow2
