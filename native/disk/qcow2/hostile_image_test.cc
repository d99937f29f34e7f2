// Images that nobody should have made.
#include "disk/testing/hostile_image.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstring>

#include "disk/qcow2/format.h"
#include "disk/qcow2/image.h"
#include "disk/testing/image_check.h"
#include "disk/testing/image_fuzz.h"
#include "disk/testing/qemu_img.h"
#include "sys/byte_order.h"

namespace tsvmm::qcow2 {
namespace {

class HostileQcow2Test : public HostileImageTest<Image> {
 protected:
  HostileQcow2Test() : HostileImageTest("disk.qcow2") {}

  void SetUp() override { make("compat=1.1", "1M"); }

  void make(const std::string& options, const std::string& size) {
    make_with_qemu_img("create -q -f qcow2 -o " + options + " " + path_ + " " + size);
    bytes_ = read_file(path_);
  }
  template <typename Number>
  void put(uint64_t offset, Number value) {
    if (bytes_.size() < offset + sizeof(value)) bytes_.resize(offset + sizeof(value));
    store_big_endian(reinterpret_cast<std::byte*>(&bytes_[offset]), value);
  }
  uint64_t get(uint64_t offset) const {
    return load_big_endian<uint64_t>(reinterpret_cast<const std::byte*>(&bytes_[offset]));
  }
};

TEST_F(HostileQcow2Test, HeadersThatCannotBeAreRefusedByName) {
  const auto sound = bytes_;
  EXPECT_EQ(refusal(), "");
  const auto expect = [&](const std::string& reason) {
    EXPECT_EQ(refusal(), reason);
    bytes_ = sound;
  };
  bytes_.resize(3);
  expect("is no qcow2 image");
  put<uint32_t>(0, 0x514649fa);
  expect("is no qcow2 image");
  put<uint32_t>(kVersion, 4);
  expect("is of a version that is not known: 4");
  put<uint32_t>(kClusterBits, 8);
  expect("its cluster bits are 8");
  put<uint32_t>(kClusterBits, 22);
  expect("its cluster bits are 22");
  put<uint32_t>(kClusterBits, UINT32_MAX);
  expect("its cluster bits are 4294967295");
  put<uint32_t>(kCryptMethod, 2);
  expect("is encrypted, which is not supported");
  put<uint64_t>(kSize, UINT64_MAX);
  expect("is absurdly large: 18446744073709551104");
  put<uint64_t>(kSize, uint64_t{1} << 40);
  expect("the L1 table has 1 entries, the disk needs 2048");
  put<uint32_t>(kL1Size, UINT32_MAX);
  expect("the L1 table is too large: its entries are 4294967295");
  put<uint32_t>(kL1Size, 1u << 22);
  expect("the L1 table at 0x30000 (33554432 bytes) is behind the end of the file");
  put<uint64_t>(kL1TableOffset, 0x30001);
  expect("the L1 table at 0x30001 (8 bytes) is not at the start of a cluster");
  put<uint64_t>(kL1TableOffset, 0xffffffffffff0000);
  expect("the L1 table at 0xffffffffffff0000 (8 bytes) is behind the end of the file");
  put<uint64_t>(kL1TableOffset, 0x10000);
  expect("the refcount table at 0x10000 overlaps the L1 table at 0x10000");
  put<uint64_t>(kRefcountTableOffset, 0);
  expect("the refcount table at 0x0 (65536 bytes) is not at the start of a cluster");
  put<uint32_t>(kRefcountTableClusters, 0);
  expect("the refcount table's clusters are 0");
  put<uint32_t>(kRefcountTableClusters, 129);
  expect("the refcount table's clusters are 129");
  put<uint32_t>(kRefcountOrder, 7);
  expect("its refcount order is 7");
  put<uint32_t>(kHeaderLength, 72);
  expect("its header's length is 72");
  put<uint32_t>(kHeaderLength, 0x10008);
  expect("its header's length is 65544");
  put<uint8_t>(kCompressionType, 2);
  expect("is compressed in a way that is not known: 2");
  put<uint8_t>(kCompressionType, 1);
  expect("is compressed in a way that is not known: 1");
  put<uint32_t>(kSnapshotCount, 65537);
  put<uint64_t>(kSnapshotsOffset, 0x20000);
  expect("has too many snapshots: 65537");
  put<uint32_t>(kSnapshotCount, 1);
  put<uint64_t>(kSnapshotsOffset, 0x900000);
  expect("the snapshot table at 0x900000 (40 bytes) is behind the end of the file");
  put<uint32_t>(kBackingFileSize, 1024);
  put<uint64_t>(kBackingFileOffset, 0x200);
  expect("the name of its backing file (1024 bytes at 0x200) is too long or outside the first cluster");
  put<uint32_t>(kBackingFileSize, 10);
  put<uint64_t>(kBackingFileOffset, 0xfffa);
  expect("the name of its backing file (10 bytes at 0xfffa) is too long or outside the first cluster");
  const auto extensions = load_big_endian<uint32_t>(reinterpret_cast<const std::byte*>(&bytes_[kHeaderLength]));
  put<uint32_t>(extensions, 0x12345678);
  put<uint32_t>(extensions + 4, 0xfffffff8);
  expect("a header extension at 0x70 is longer than the first cluster");
}

TEST_F(HostileQcow2Test, FeaturesThatAreNotKnownAreRefusedByName) {
  const auto with = [&](uint64_t features) {
    put<uint64_t>(kIncompatibleFeatures, features);
    return refusal();
  };
  const std::string remedy = "; repair it with qemu-img check -r all, or open it readonly=on";
  EXPECT_EQ(with(kFeatureDataFile), "keeps its data in another file, which is not supported");
  EXPECT_EQ(with(kFeatureExtendedL2), "has extended L2 entries, which are not supported");
  EXPECT_EQ(with(0x8000000000000020), "has incompatible features that are not known: 0x8000000000000020");
  EXPECT_EQ(with(kFeatureCorrupt), "is marked as corrupt" + remedy);
  EXPECT_EQ(with(kFeatureDirty), "was not closed by its last writer, its refcounts are outdated" + remedy);
  EXPECT_EQ(refusal(true), "") << "its refcounts are of no use to a reader";
}

TEST_F(HostileQcow2Test, TablesThatLieWhereTheyCannotAreRefusedByName) {
  const auto sound = bytes_;
  const auto expect = [&](const std::string& reason) {
    EXPECT_EQ(refusal(), reason);
    bytes_ = sound;
  };
  put<uint64_t>(0x30000, 0x0 | kCopied);
  expect("entry 0 of the L1 table at 0x30000 is 0x8000000000000000, which is not a cluster of the file");
  put<uint64_t>(0x30000, 0x40000);
  expect("entry 0 of the L1 table at 0x30000 is 0x40000, which is not a cluster of the file");
  put<uint64_t>(0x30000, 0x20200);
  expect("entry 0 of the L1 table at 0x30000 is 0x20200, which is not a cluster of the file");
  put<uint64_t>(0x30000, 0x0100000000020000);
  expect("entry 0 of the L1 table at 0x30000 is 0x100000000020000, which is not a cluster of the file");
  put<uint64_t>(0x30000, 0x20000);
  expect("a refcount block at 0x20000 overlaps an L2 table at 0x20000");
  put<uint64_t>(0x10000, 0x30000);
  expect("refcount block 0 at 0x30000 is not a cluster of the file");
  put<uint64_t>(0x10008, 0x20000);
  expect("a refcount block at 0x20000 overlaps a refcount block at 0x20000");
  put<uint64_t>(0x10008, 0x20001);
  expect("refcount block 1 at 0x20001 is not a cluster of the file");
  bytes_.resize(0x60000);
  put<uint32_t>(kL1Size, 2);
  put<uint64_t>(0x30000, 0x40000);
  put<uint64_t>(0x30008, 0x40000);
  expect("an L2 table at 0x40000 overlaps an L2 table at 0x40000");
}

TEST_F(HostileQcow2Test, EntriesThatLieWhereTheyCannotFailAndAreNamedOnce) {
  ASSERT_EQ(run_program("qemu-io -f qcow2 -c 'write -P 1 0 1M' " + path_).code, 0);
  bytes_ = read_file(path_);
  const auto sound = bytes_;
  const auto l2 = get(0x30000) & kOffsetMask;
  for (const auto& [entry, reason] : std::initializer_list<std::pair<uint64_t, std::string>>{
           {0x10000 | kCopied, "is the refcount table"},
           {0 | kCopied, "is writable and has no place"},
           {0x50200 | kCopied, "is not at the start of a cluster"},
           {0x5000000 | kCopied, "is behind the end of the file"},
           {0x00fffffffff00000 | kCopied, "is behind the end of the file"},
           {l2 | kCopied, "is an L2 table"},
           {0x50000 | kCopied | 2, "has bits that are reserved"},
           {kCompressed | kCopied | 0x50000, "is both compressed and writable"},
           {kCompressed | 0x0000000900000000, "is behind the end of the file"},
           {kCompressed | 0x30200, "is in the L1 table"}}) {
    put<uint64_t>(l2 + 8, entry);
    write_file(path_, bytes_);
    const UniqueFd fd(open(path_.c_str(), O_RDWR | O_CLOEXEC));
    auto image = std::move(Image::open(fd.get(), {}).value());
    std::string data(512, 'x');
    const iovec piece{data.data(), data.size()};
    EXPECT_EQ(image->write(0x10000, {&piece, 1}), -EIO) << reason;
    EXPECT_EQ(image->read(0x10000, {&piece, 1}), -EIO) << reason;
    EXPECT_EQ(image->discard(0x10000, 0x10000), -EIO) << reason;
    const auto fault = image->take_fault();
    EXPECT_EQ(fault, "the L2 entry at " + hexadecimal(l2 + 8) + " (" + hexadecimal(entry) + ") " + reason);
    EXPECT_EQ(image->take_fault(), "");
    image.reset();
    EXPECT_TRUE(read_file(path_) == bytes_) << reason;
    bytes_ = sound;
  }
}

TEST_F(HostileQcow2Test, ClustersThatTwoEntriesShareHarmNoTable) {
  make("cluster_size=512", "1M");
  ASSERT_EQ(run_program("qemu-io -f qcow2 -c 'write -P 1 0 1k' " + path_).code, 0);
  bytes_ = read_file(path_);
  const auto l1 = get(kL1TableOffset);
  const auto l2 = get(l1) & kOffsetMask;
  const auto shared = get(l2);
  put<uint64_t>(l2 + 8, shared);
  write_file(path_, bytes_);
  const UniqueFd fd(open(path_.c_str(), O_RDWR | O_CLOEXEC));
  auto image = std::move(Image::open(fd.get(), {}).value());
  std::string data(512, 'x');
  const iovec piece{data.data(), data.size()};
  // What one of them gives back becomes, at the next chance, a table of the other half of the disk.
  EXPECT_EQ(image->discard(0, 512), 0);
  uint64_t table = 0;
  for (uint64_t offset = 512 << 10; table != (shared & kOffsetMask) && offset < 1 << 20; offset += 32 << 10) {
    EXPECT_EQ(image->write(offset, {&piece, 1}), 0);
    ASSERT_EQ(image->flush(), 0);
    bytes_ = read_file(path_);
    table = get(l1 + offset / (32 << 10) * 8) & kOffsetMask;
  }
  ASSERT_EQ(table, shared & kOffsetMask) << "its cluster was not used again";
  EXPECT_EQ(image->write(512, {&piece, 1}), -EIO);
  EXPECT_EQ(image->take_fault(), "cluster 1 of the disk is in an L2 table");
  image.reset();
  EXPECT_TRUE(read_file(path_) == bytes_);
}

TEST_F(HostileQcow2Test, RefcountsThatCallTablesFreeHarmNone) {
  // As if nothing were in use.
  std::memset(&bytes_[0x20000], 0, 0x10000);
  write_file(path_, bytes_);
  const UniqueFd fd(open(path_.c_str(), O_RDWR | O_CLOEXEC));
  auto image = std::move(Image::open(fd.get(), {}).value());
  std::string data(512, 'x');
  const iovec piece{data.data(), data.size()};
  EXPECT_EQ(image->write(0, {&piece, 1}), -EIO);
  EXPECT_EQ(image->take_fault(), "the refcounts say that the header at 0x0 is free");
  image.reset();
  EXPECT_TRUE(read_file(path_) == bytes_);
}

TEST_F(HostileQcow2Test, CompressedDataThatIsNoneIsAnError) {
  for (const char* type : {"zlib", "zstd"}) {
    write_file(folder_.path("raw"), std::string(1 << 20, 'c'));
    make_with_qemu_img("convert -c -f raw -O qcow2 -o compression_type=" + std::string(type) + " " +
                       folder_.path("raw") + " " + path_);
    bytes_ = read_file(path_);
    const auto l1 = get(kL1TableOffset);
    const auto place = get(get(l1) & kOffsetMask) & 0x003fffffffffffff;
    for (const size_t damage : {0, 10}) {
      auto damaged = bytes_;
      for (auto at = place + damage; at < place + 40; ++at) damaged[at] = '\xff';
      write_file(path_, damaged);
      const UniqueFd fd(open(path_.c_str(), O_RDWR | O_CLOEXEC));
      auto image = std::move(Image::open(fd.get(), {}).value());
      std::string data(512, 'x');
      const iovec piece{data.data(), data.size()};
      EXPECT_EQ(image->read(0, {&piece, 1}), -EIO) << type << damage;
      EXPECT_EQ(image->take_fault(), "the compressed cluster at " + hexadecimal(place) + " is damaged");
    }
  }
}

TEST_F(HostileQcow2Test, AutoclearBitsAreClearedBeforeAnythingIsWritten) {
  put<uint64_t>(kAutoclearFeatures, 3);
  EXPECT_EQ(refusal(true), "");
  EXPECT_TRUE(read_file(path_) == bytes_);
  EXPECT_EQ(refusal(), "");
  put<uint64_t>(kAutoclearFeatures, 0);
  EXPECT_TRUE(read_file(path_) == bytes_);
}

TEST_F(HostileQcow2Test, NoImageDoesMoreThanFail) {
  std::vector<std::string> examples;
  const auto raw = folder_.path("raw");
  write_file(raw, std::string(300'000, 'r') + std::string(700'000, 0));
  for (const char* arguments : {"-o cluster_size=512", "-o cluster_size=4k,refcount_bits=1", "-c -o cluster_size=4k",
                                "-c -o cluster_size=4k,compression_type=zstd", "-o cluster_size=4k,compat=0.10"}) {
    make_with_qemu_img("convert -f raw -O qcow2 " + std::string(arguments) + " " + raw + " " + path_);
    if (std::string(arguments).find("=1") == std::string::npos) make_with_qemu_img("snapshot -c one " + path_);
    examples.push_back(read_file(path_));
  }
  // Clusters of the largest size, and tables for them.
  fuzz_images(folder_, examples, 80u << 20, [](int fd) -> std::unique_ptr<DiskImage> {
    auto image = Image::open(fd, {});
    return image ? std::move(image).value() : nullptr;
  });
}

}  // namespace
}  // namespace tsvmm::qcow2
