#include "disk/vhdx/image.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "disk/testing/crashes.h"
#include "disk/testing/hostile_image.h"
#include "disk/testing/image_check.h"
#include "disk/testing/image_fuzz.h"
#include "disk/testing/qemu_img.h"
#include "disk/vhdx/format.h"
#include "sys/byte_order.h"
#include "sys/crc32c.h"

namespace tsvmm::vhdx {
namespace {

constexpr uint64_t kDiskBytes = 9 * kMebibyte;
const std::string kFormat = "vhdx";

struct Kind {
  const char* name;
  const char* options;
  bool direct = false;
};

void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }

std::unique_ptr<Image> open_image(const std::string& path, bool read_only = false, bool direct = false) {
  const UniqueFd fd(open(path.c_str(), (read_only ? O_RDONLY : O_RDWR) | (direct ? O_DIRECT : 0) | O_CLOEXEC));
  auto image = Image::open(fd.get(), {.read_only = read_only, .alignment = direct ? 4096u : 1u});
  EXPECT_TRUE(image.ok()) << (image.ok() ? "" : image.failure().reason);
  return image ? std::move(image).value() : nullptr;
}

class VhdxTest : public testing::TestWithParam<Kind> {
 protected:
  void make(uint64_t bytes = kDiskBytes) {
    make_with_qemu_img("create -q -f vhdx -o " + std::string(GetParam().options) + " " + path_ + " " +
                       std::to_string(bytes));
  }
  std::string converted() {
    make_with_qemu_img("convert -f vhdx -O raw " + path_ + " " + folder_.path("raw"));
    return read_file(folder_.path("raw"));
  }

  Folder folder_;
  const std::string path_ = folder_.path("disk.vhdx");
};

INSTANTIATE_TEST_SUITE_P(All, VhdxTest,
                         testing::Values(Kind{"Small", "block_size=1M"}, Kind{"Direct", "block_size=1M", true},
                                         Kind{"Usual", "block_size=32M"}, Kind{"Fixed", "subformat=fixed"},
                                         Kind{"ZeroBlocks", "block_size=1M,block_state_zero=off"}),
                         [](const auto& info) { return info.param.name; });

TEST_P(VhdxTest, WhatAGuestDoesIsThereForQemu) {
  make();
  ASSERT_EQ(run_program("qemu-io -f vhdx -c 'write -P 9 1M 70k' " + path_).code, 0);
  auto image = open_image(path_, false, GetParam().direct);
  ASSERT_EQ(image->size(), kDiskBytes);
  std::string content(kDiskBytes, 0);
  content.replace(kMebibyte, 70 << 10, std::string(70 << 10, 9));
  ImageCheck check(*image, content, 1);
  for (int round = 0; round < 2; ++round) {
    for (int step = 0; step < 120; ++step) check.step();
    ASSERT_TRUE(check.is_same()) << round;
    ASSERT_EQ(image->settle(), 0);
    EXPECT_EQ(damage_of(path_, Leaks::kNone, kFormat), "");
    EXPECT_TRUE(converted() == check.content);
  }
  EXPECT_EQ(image->take_fault(), "");
  image.reset();
  EXPECT_EQ(damage_of(path_, Leaks::kNone, kFormat), "");
  EXPECT_TRUE(converted() == check.content);
  const auto before = read_file(path_);
  auto reader = open_image(path_, true);
  EXPECT_TRUE(ImageCheck(*reader, check.content, 2).is_same());
  reader.reset();
  EXPECT_TRUE(read_file(path_) == before) << "a reader changes nothing";
}

TEST(VhdxCrashTest, AWriterThatIsKilledLeavesASoundImage) {
  const Folder folder;
  const auto path = folder.path("disk.vhdx");
  make_with_qemu_img("create -q -f vhdx -o block_size=1M " + path + crash_disk_size());
  for (uint64_t round = 0; round < 5; ++round) {
    kill_a_writer(round, [&] { return open_image(path); });
    // Ours carries the log out, or QEMU does.
    if (round % 2 == 0) {
      open_image(path);
    } else {
      make_with_qemu_img("check -q -r all -f vhdx " + path);
    }
    EXPECT_EQ(damage_of(path, Leaks::kNone, kFormat), "");
    make_with_qemu_img("convert -f vhdx -O raw " + path + " " + folder.path("raw"));
    expect_whole_blocks(read_file(folder.path("raw")));
  }
}

TEST(VhdxCrashTest, AHostThatLosesPowerLeavesASoundImage) {
  const Folder folder;
  const auto path = folder.path("disk.vhdx");
  const auto left = folder.path("left.vhdx");
  // Several sectors of the block allocation table.
  const uint64_t bytes = 3000 * kMebibyte;
  make_with_qemu_img("create -q -f vhdx -o block_size=1M " + path + " " + std::to_string(bytes));
  const UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC));
  auto lossy = std::make_unique<LossyFile>(open_image_file(fd.get()).value(), read_file(path));
  auto* file = lossy.get();
  auto image = Image::open(fd.get(), std::move(lossy), {}).value();
  std::mt19937_64 random(3);
  int replayed = 0;
  for (int step = 0; step < 25; ++step) {
    for (int block = 0; block < 3; ++block) {
      std::string data(4096, static_cast<char>('a' + block));
      const iovec piece{data.data(), data.size()};
      ASSERT_EQ(image->write(random() % (bytes / 4096) * 4096, {&piece, 1}), 0);
    }
    if (random() % 4 != 0) {
      ASSERT_EQ(random() % 2 == 0 ? image->flush() : image->settle(), 0);
    }
    write_file(left, file->lost(random));
    std::filesystem::resize_file(left, std::filesystem::file_size(path));
    const UniqueFd reader(open(left.c_str(), O_RDONLY | O_CLOEXEC));
    replayed += Image::open(reader.get(), {.read_only = true}) ? 0 : 1;
    ASSERT_EQ(qemu_img("check -q -r all -f vhdx " + left).code, 0) << "after step " << step;
  }
  EXPECT_GT(replayed, 4);
}

class HostileVhdxTest : public HostileImageTest<Image> {
 protected:
  HostileVhdxTest() : HostileImageTest("disk.vhdx") {}

  void SetUp() override {
    make_with_qemu_img("create -q -f vhdx -o block_size=1M " + path_ + " 8M");
    ASSERT_EQ(run_program("qemu-io -f vhdx -c 'write -P 1 0 3M' " + path_).code, 0);
    bytes_ = read_file(path_);
  }
  template <typename Number>
  void put(uint64_t offset, Number value) {
    store_little_endian(reinterpret_cast<std::byte*>(&bytes_[offset]), value);
  }
  template <typename Number>
  Number get(uint64_t offset) const {
    return load_little_endian<Number>(reinterpret_cast<const std::byte*>(&bytes_[offset]));
  }
  // With the checksum that belongs to what is there now.
  void seal(uint64_t offset, size_t length) {
    put<uint32_t>(offset + kChecksum, 0);
    const auto sum = crc32c(std::as_bytes(std::span(bytes_)).subspan(offset, length));
    put<uint32_t>(offset + kChecksum, sum);
  }
  // Both headers say so.
  template <typename Number>
  void put_in_headers(size_t field, Number value) {
    for (const auto offset : kHeaderOffsets) {
      put(offset + field, value);
      seal(offset, kHeaderLength);
    }
  }
  template <typename Number>
  void put_in_regions(size_t field, Number value) {
    for (const auto offset : kRegionTableOffsets) {
      put(offset + field, value);
      seal(offset, kRegionTableLength);
    }
  }
  uint64_t region(size_t number) const {
    return get<uint64_t>(kRegionTableOffsets[0] + kRegionEntries + number * kRegionEntryLength + 16);
  }
  // Where an item of the metadata has its bytes.
  uint64_t item(const Guid& guid) const {
    const auto table = region(1);
    for (auto entry = table + kMetadataEntries;; entry += kMetadataEntryLength) {
      if (std::memcmp(&bytes_[entry], guid.data(), guid.size()) == 0) return table + get<uint32_t>(entry + 16);
    }
  }
};

TEST_F(HostileVhdxTest, WhatCannotBeIsRefusedByName) {
  const auto sound = bytes_;
  EXPECT_EQ(refusal(), "");
  bytes_ = sound;
  const auto expect = [&](const std::string& reason) {
    EXPECT_EQ(refusal(), reason);
    bytes_ = sound;
  };
  bytes_[0] = 'V';
  expect("is no VHDX image");
  for (const auto offset : kHeaderOffsets) bytes_[offset + 100] = 1;
  expect("neither of its headers is intact");
  put_in_headers<uint16_t>(kHeaderVersion, 2);
  expect("neither of its headers is intact");
  put_in_headers<uint64_t>(kHeaderLogOffset, 1);
  expect("the log at 0x1 (1048576 bytes) is not of whole MiB");
  put_in_headers<uint32_t>(kHeaderLogLength, 0xfff00000);
  expect("the log at 0x100000 (4293918720 bytes) is behind the end of the file");
  put_in_headers<uint64_t>(kHeaderLogOffset, region(0));
  expect("the block allocation table at " + hexadecimal(region(0)) + " overlaps the log at " + hexadecimal(region(0)));
  for (const auto offset : kRegionTableOffsets) bytes_[offset + 9] = 1;
  expect("neither of its region tables is intact");
  put_in_regions<uint32_t>(kRegionCount, 3000);
  expect("its region table has too many entries: 3000");
  put_in_regions<uint32_t>(kRegionCount, 1);
  expect("has no block allocation table, or no metadata");
  put_in_regions<uint8_t>(kRegionEntries, 0xff);
  put_in_regions<uint32_t>(kRegionEntries + 28, 1);
  expect("needs a region that is not known");
  put_in_regions<uint64_t>(kRegionEntries + 16, uint64_t{1} << 60);
  expect("the block allocation table at 0x1000000000000000 (1048576 bytes) is behind the end of the file");
  bytes_[region(1)] = 0;
  expect("its metadata at " + hexadecimal(region(1)) + " is damaged");
  put<uint32_t>(item(kFileParameters) + 4, kHasParent);
  expect("is a differencing image, which is not supported");
  put<uint32_t>(item(kFileParameters), 3u << 20);
  expect("its block size is 3145728");
  put<uint32_t>(item(kFileParameters), 1u << 29);
  expect("its block size is 536870912");
  put<uint64_t>(item(kDiskSize), UINT64_MAX);
  expect("its disk size is 18446744073709551615");
  put<uint64_t>(item(kDiskSize), 1000);
  expect("its disk size is 1000");
  put<uint64_t>(item(kDiskSize), uint64_t{1} << 40);
  expect("its block allocation table has 1048576 bytes, the disk needs 8390648");
  put<uint32_t>(item(kLogicalSectorSize), 520);
  expect("its sector size is 520");
  put<uint32_t>(item(kLogicalSectorSize), 4096);
  expect("");
}

TEST_F(HostileVhdxTest, EntriesThatLieWhereTheyCannotFailAndAreNamedOnce) {
  const auto place = region(0) + 8;
  for (const auto& [entry, reason] : std::initializer_list<std::pair<uint64_t, std::string>>{
           {kMebibyte | kFullyPresent, "is in the log"},
           {region(0) | kFullyPresent, "is in the block allocation table"},
           {0 | kFullyPresent, "is in the header"},
           {(uint64_t{1} << 50) | kFullyPresent, "is behind the end of the file"},
           {bytes_.size() / kMebibyte * kMebibyte | kFullyPresent, "is behind the end of the file"},
           {(bytes_.size() - kMebibyte) | kFullyPresent | 0x800, "has bits that are reserved"},
           {(bytes_.size() - kMebibyte) | kPartiallyPresent, "is of a differencing image"}}) {
    put(place, entry);
    write_file(path_, bytes_);
    auto image = open_image(path_);
    std::string data(512, 'x');
    const iovec piece{data.data(), data.size()};
    EXPECT_EQ(image->write(kMebibyte, {&piece, 1}), -EIO) << reason;
    EXPECT_EQ(image->read(kMebibyte, {&piece, 1}), -EIO) << reason;
    EXPECT_EQ(image->discard(kMebibyte, kMebibyte), -EIO) << reason;
    EXPECT_EQ(image->take_fault(), "the block allocation table's entry at " + hexadecimal(place) + " (" +
                                       hexadecimal(entry) + ") " + reason);
    EXPECT_EQ(image->take_fault(), "");
  }
}

// An entry that sets one sector at `offset` to a pattern.
TEST_F(HostileVhdxTest, ALogIsCarriedOutAsAWholeOrRefused) {
  const auto sound = bytes_;
  const auto log = get<uint64_t>(kHeaderOffsets[0] + kHeaderLogOffset);
  const auto with_entry = [&](uint64_t offset, uint64_t last_file_offset, uint64_t flushed_file_offset) {
    bytes_ = sound;
    put_in_headers<uint64_t>(kHeaderLogGuid, 77);
    std::memset(&bytes_[log], 0, 2 * kLogSector);
    put<uint32_t>(log, kLogEntrySignature);
    put<uint32_t>(log + kEntryLength, 2 * kLogSector);
    put<uint64_t>(log + kEntrySequence, 5);
    put<uint32_t>(log + kEntryDescriptors, 1);
    put<uint64_t>(log + kEntryLogGuid, 77);
    std::memcpy(&bytes_[log + kEntryLogGuid], &bytes_[kHeaderOffsets[0] + kHeaderLogGuid], 16);
    put<uint64_t>(log + kEntryFlushedFileOffset, flushed_file_offset);
    put<uint64_t>(log + kEntryLastFileOffset, last_file_offset);
    const auto descriptor = log + kEntryHeaderLength;
    put<uint32_t>(descriptor, kDataDescriptor);
    put<uint64_t>(descriptor + 16, offset);
    put<uint64_t>(descriptor + 24, 5);
    put<uint32_t>(log + kLogSector, kDataSignature);
    put<uint32_t>(log + 2 * kLogSector - 4, 5);
    seal(log, 2 * kLogSector);
  };
  const auto size = bytes_.size();
  with_entry(region(0) + 8192, size, size);
  EXPECT_EQ(refusal(true), "has changes in its log that must be carried out: open it for writing");
  EXPECT_EQ(refusal(), "");
  EXPECT_EQ(read_file(path_).size(), size);
  with_entry(region(0) + 8192, size + kMebibyte, size);
  EXPECT_EQ(refusal(), "");
  EXPECT_EQ(read_file(path_).size(), size + kMebibyte);
  with_entry(region(0), size, size + 1);
  EXPECT_EQ(refusal(), "is shorter than it was: " + std::to_string(size) + " bytes of " + std::to_string(size + 1));
  for (const auto offset : {uint64_t{0}, log, region(0) + 512, uint64_t{1} << 60, UINT64_MAX - 4095}) {
    with_entry(offset, size, size);
    EXPECT_EQ(refusal(), "its log has a change of " + hexadecimal(offset) + ", where it cannot have one");
  }
  with_entry(region(0), uint64_t{1} << 60, size);
  EXPECT_EQ(refusal(), "its log has a change of 0x1000000000000000, where it cannot have one");
  // Of another time: no entry at all.
  with_entry(0, size, size);
  put<uint64_t>(log + kEntryLogGuid, 78);
  EXPECT_EQ(refusal(true), "");
}

TEST_F(HostileVhdxTest, NoImageDoesMoreThanFail) {
  std::vector<std::string> examples{bytes_};
  make_with_qemu_img("create -q -f vhdx -o subformat=fixed " + path_ + " 3M");
  examples.push_back(read_file(path_));
  // A guest of this may have 24 blocks of the largest size.
  fuzz_images(folder_, examples, 24 * kMaximumBlockSize, [](int fd) -> std::unique_ptr<DiskImage> {
    auto image = Image::open(fd, {});
    return image ? std::move(image).value() : nullptr;
  });
}

}  // namespace
}  // namespace tsvmm::vhdx
