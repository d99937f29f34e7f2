#include "sys/pty.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <string>

namespace tsvmm {
namespace {

std::string read_some(int fd) {
  pollfd poll{fd, POLLIN, 0};
  if (::poll(&poll, 1, 5000) != 1) return "nothing came";
  char data[64];
  const auto count = ::read(fd, data, sizeof(data));
  return count < 0 ? "read failed" : std::string(data, static_cast<size_t>(count));
}

void write_all(int fd, const std::string& text) {
  ASSERT_EQ(::write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
}

TEST(PtyTest, BytesPassBothWaysAsTheyAre) {
  const auto pty = Pty::open();
  ASSERT_TRUE(pty);
  const UniqueFd client(::open(pty.value().path.c_str(), O_RDWR | O_NOCTTY));
  ASSERT_TRUE(client.is_open());
  write_all(client.get(), "\x03\x04\r\n");
  EXPECT_EQ(read_some(pty.value().master.get()), "\x03\x04\r\n");
  write_all(pty.value().master.get(), "\x03out\r\n");
  EXPECT_EQ(read_some(client.get()), "\x03out\r\n");
}

TEST(PtyTest, OutputWaitsForAClientAndNeverBlocks) {
  const auto pty = Pty::open();
  ASSERT_TRUE(pty);
  write_all(pty.value().master.get(), "early");
  const std::string block(4096, 'x');
  ssize_t count = 0;
  for (int round = 0; round < 1000 && count >= 0; ++round) {
    count = ::write(pty.value().master.get(), block.data(), block.size());
  }
  EXPECT_EQ(count, -1);
  EXPECT_EQ(errno, EAGAIN);
  const UniqueFd client(::open(pty.value().path.c_str(), O_RDWR | O_NOCTTY));
  // It may come in pieces.
  std::string text;
  while (text.size() < 6) text += read_some(client.get());
  EXPECT_EQ(text.substr(0, 6), "earlyx");
}

TEST(PtyTest, AClientMayComeAndGo) {
  const auto pty = Pty::open();
  ASSERT_TRUE(pty);
  for (int round = 0; round < 2; ++round) {
    const UniqueFd client(::open(pty.value().path.c_str(), O_RDWR | O_NOCTTY));
    write_all(client.get(), "hello");
    EXPECT_EQ(read_some(pty.value().master.get()), "hello");
  }
  char data;
  EXPECT_EQ(::read(pty.value().master.get(), &data, 1), -1);
  EXPECT_EQ(errno, EAGAIN);
}

}  // namespace
}  // namespace tsvmm
