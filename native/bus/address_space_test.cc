#include "bus/address_space.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace tsvmm {
namespace {

// Writes down what reaches it and answers reads with their offset.
class Recorder : public TrapSink {
 public:
  uint32_t read(const Window&, uint32_t offset, uint32_t width) override {
    log += "read " + std::to_string(offset) + "/" + std::to_string(width) + ";";
    return offset;
  }
  void write(const Window&, uint32_t offset, uint32_t width, uint32_t value) override {
    log += "write " + std::to_string(offset) + "/" + std::to_string(width) + "=" + std::to_string(value) + ";";
  }
  void post(const Window&, uint32_t offset, uint32_t width, uint32_t value) override {
    log += "post " + std::to_string(offset) + "/" + std::to_string(width) + "=" + std::to_string(value) + ";";
  }
  std::string log;
};

class AddressSpaceTest : public testing::Test {
 protected:
  static constexpr uint64_t kBase = 0x1000;

  std::shared_ptr<Window> window(std::vector<RegisterSpan> spans) {
    return Window::create(7, bytes_, std::move(spans)).value();
  }
  uint64_t read(uint64_t address, size_t width) {
    std::array<uint8_t, 8> data{};
    access_read(*space_.table(), address, {data.data(), width}, recorder_, counters_);
    uint64_t value = 0;
    for (size_t index = 0; index < width; ++index) value |= uint64_t{data[index]} << (8 * index);
    return value;
  }
  void write(uint64_t address, size_t width, uint64_t value) {
    std::array<uint8_t, 8> data{};
    for (size_t index = 0; index < width; ++index) data[index] = static_cast<uint8_t>(value >> (8 * index));
    access_write(*space_.table(), address, {data.data(), width}, recorder_, counters_);
  }

  std::array<uint8_t, 32> bytes_{};
  AddressSpace space_;
  Recorder recorder_;
  AccessCounters counters_;
};

constexpr auto kReadBytes = RegisterSpan::Read::kBytes;
constexpr auto kReadTrap = RegisterSpan::Read::kTrap;
constexpr auto kWriteBytes = RegisterSpan::Write::kBytes;
constexpr auto kWriteTrap = RegisterSpan::Write::kTrap;

TEST_F(AddressSpaceTest, BytesAreReadAndWrittenThroughTheMask) {
  ASSERT_TRUE(space_.add(kBase, window({{0, 4, kReadBytes, kWriteBytes, {0xff, 0x0f, 0, 0xff}, 0, 0}})));
  bytes_[2] = 0x55;
  write(kBase, 4, 0xaabbccdd);
  EXPECT_EQ(read(kBase, 4), 0xaa550cddu);
  EXPECT_EQ(read(kBase + 1, 2), 0x550cu);
  EXPECT_EQ(recorder_.log, "");
  EXPECT_EQ(counters_.bytes, 3u);
}

TEST_F(AddressSpaceTest, AWideAccessTrapsInPiecesLowestFirst) {
  ASSERT_TRUE(space_.add(kBase, window({{0, 32, kReadTrap, kWriteTrap, {}, 0, 0}})));
  EXPECT_EQ(read(kBase + 8, 8), 0x0000000c00000008u);
  write(kBase, 8, 0x0000000200000001);
  EXPECT_EQ(recorder_.log, "read 8/4;read 12/4;write 0/4=1;write 4/4=2;");
}

TEST_F(AddressSpaceTest, AnAccessAcrossSpansIsCutAtTheirBorder) {
  ASSERT_TRUE(space_.add(kBase, window({{0, 2, kReadBytes, kWriteBytes, {}, 0, 0},
                                        {2, 1, kReadTrap, RegisterSpan::Write::kPost, {}, 0, 0}})));
  bytes_[0] = 0x11;
  bytes_[1] = 0x22;
  EXPECT_EQ(read(kBase, 4), 0xff022211u) << "what no span covers reads as ones";
  write(kBase, 4, 0x04030201);
  EXPECT_EQ(bytes_[0], 1);
  EXPECT_EQ(bytes_[1], 2);
  EXPECT_EQ(recorder_.log, "read 2/1;post 2/1=3;");
}

TEST_F(AddressSpaceTest, AnAccessThatLeavesAWindowDoesNotTouchWhatIsBehind) {
  ASSERT_TRUE(space_.add(kBase, window({{0, 32, kReadBytes, kWriteBytes, {}, 0, 0}})));
  EXPECT_EQ(read(kBase + 30, 4), 0xffff0000u);
  EXPECT_EQ(read(kBase - 2, 4), 0x0000ffffu);
  write(kBase + 31, 4, UINT32_MAX);
  EXPECT_EQ(bytes_[31], 0xff);
  EXPECT_EQ(read(UINT64_MAX - 1, 4), 0xffffffffu) << "the end of the address space";
}

TEST_F(AddressSpaceTest, OverlapIsRefusedAndAFailedMoveChangesNothing) {
  auto first = window({});
  auto second = window({});
  ASSERT_TRUE(space_.add(kBase, first));
  EXPECT_EQ(space_.add(kBase + 31, second).failure().error, EEXIST);
  EXPECT_EQ(space_.add(UINT64_MAX - 30, second).failure().error, EINVAL);
  ASSERT_TRUE(space_.add(kBase + 32, second));
  EXPECT_EQ(space_.move(*second, kBase + 1).failure().error, EEXIST);
  EXPECT_EQ(space_.table()->find(kBase + 32)->window, second);
  ASSERT_TRUE(space_.move(*first, kBase + 64));
  EXPECT_EQ(space_.table()->find(kBase), nullptr);
  space_.remove(*first);
  EXPECT_EQ(space_.table()->find(kBase + 64), nullptr);
}

TEST_F(AddressSpaceTest, ACounterFollowsTheClockWithinItsWidth) {
  auto counter = window({{0, 4, RegisterSpan::Read::kClock, RegisterSpan::Write::kIgnore, {}, 1'000'000'000, 24}});
  ASSERT_TRUE(space_.add(kBase, counter));
  const auto first = read(kBase, 4);
  const auto second = read(kBase, 4);
  EXPECT_LT(first, 1u << 24);
  EXPECT_NE(first, second);
  counter->clock().set(0xabffffff);
  EXPECT_EQ(read(kBase, 4) >> 24, 0u);
}

TEST(WindowTest, SpansMustBeAscendingApartAndInside) {
  std::array<uint8_t, 8> bytes{};
  const auto span = [](uint32_t offset, uint32_t length) {
    return RegisterSpan{offset, length, kReadBytes, kWriteBytes, {}, 0, 0};
  };
  EXPECT_TRUE(Window::create(0, bytes, {span(0, 4), span(4, 4)}));
  EXPECT_FALSE(Window::create(0, bytes, {span(0, 5), span(4, 4)}));
  EXPECT_FALSE(Window::create(0, bytes, {span(4, 4), span(0, 4)}));
  EXPECT_FALSE(Window::create(0, bytes, {span(0, 9)}));
  EXPECT_FALSE(Window::create(0, bytes, {span(0, 0)}));
  EXPECT_FALSE(Window::create(0, bytes, {span(4, UINT32_MAX)}));
  EXPECT_FALSE(Window::create(0, {}, {}));
}

TEST_F(AddressSpaceTest, AnEcamSpanLeadsToTheFunctionThatTheFirstRegisterSelects) {
  constexpr uint64_t kEcam = 0xe8000000;
  AddressSpace memory;
  std::array<uint8_t, 0x2000> ecam_bytes{};
  ecam_bytes[0x1008] = 0x11;
  ecam_bytes[0x1009] = 0x22;
  ASSERT_TRUE(memory.add(kEcam, Window::create(9, ecam_bytes, {{0, 0x2000, kReadBytes, kWriteTrap, {}}}).value()));
  RegisterSpan data{4, 4, RegisterSpan::Read::kEcam, RegisterSpan::Write::kEcam, {}};
  data.ecam_address = kEcam;
  data.ecam_buses = 1;
  ASSERT_TRUE(space_.add(kBase, window({{0, 4, kReadBytes, kWriteBytes, {}}, data})));
  const auto table = memory.table();
  const auto read_data = [&](uint32_t offset, size_t width) {
    std::array<uint8_t, 4> value{};
    access_read(*space_.table(), kBase + 4 + offset, {value.data(), width}, recorder_, counters_, table.get());
    return uint32_t{value[0]} | uint32_t{value[1]} << 8 | uint32_t{value[2]} << 16 | uint32_t{value[3]} << 24;
  };

  EXPECT_EQ(read_data(0, 4), UINT32_MAX) << "not enabled";
  write(kBase, 4, 0x80000108);
  EXPECT_EQ(read_data(0, 4), 0x2211u);
  EXPECT_EQ(read_data(1, 1), 0x22u);
  const std::array<uint8_t, 2> written{0x34, 0x12};
  access_write(*space_.table(), kBase + 6, written, recorder_, counters_, table.get());
  EXPECT_EQ(recorder_.log, "write 4106/2=4660;");
  write(kBase, 4, 0x80000208);
  EXPECT_EQ(read_data(0, 4), UINT32_MAX) << "no such function";
  write(kBase, 4, 0x80010108);
  EXPECT_EQ(read_data(0, 4), UINT32_MAX) << "no such bus";
  EXPECT_EQ(read(kBase + 4, 4), UINT32_MAX) << "no memory to lead to";
}

TEST_F(AddressSpaceTest, AnEcamSpanNeedsItsRegisterAndItsBuses) {
  RegisterSpan span{0, 8, RegisterSpan::Read::kEcam, kWriteTrap, {}};
  span.ecam_buses = 1;
  EXPECT_FALSE(Window::create(1, bytes_, {span}));
  span.length = 4;
  EXPECT_TRUE(Window::create(1, bytes_, {span}));
  span.ecam_buses = 257;
  EXPECT_FALSE(Window::create(1, bytes_, {span}));
}

}  // namespace
}  // namespace tsvmm
