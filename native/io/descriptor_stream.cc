#include "io/descriptor_stream.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace tsvmm {

namespace {

constexpr size_t kMostChunkBytes = 64 * 1024;

// Room for the control messages of one call, aligned as they are.
struct ControlBuffer {
  alignas(cmsghdr) std::byte bytes[CMSG_SPACE(DescriptorStream::kMostDescriptors * sizeof(int))];
};

std::vector<UniqueFd> descriptors_in(msghdr& message) {
  std::vector<UniqueFd> descriptors;
  for (auto* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const auto count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t number = 0; number < count; ++number) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + number * sizeof(int), sizeof(int));
      descriptors.emplace_back(fd);
    }
  }
  return descriptors;
}

ssize_t send_some(int socket, std::span<const std::byte> bytes, std::span<const int> descriptors) {
  iovec piece{const_cast<std::byte*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  ControlBuffer control;
  if (!descriptors.empty()) {
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    auto* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
  }
  for (;;) {
    const auto sent = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0 || errno != EINTR) return sent;
  }
}

bool is_for_later(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

}  // namespace

Result<std::unique_ptr<DescriptorStream>> DescriptorStream::start(UniqueFd socket, std::string thread_name,
                                                                  std::function<void()> on_change) {
  auto wake = EventFd::create();
  if (!wake) return wake.failure();
  std::unique_ptr<DescriptorStream> stream(
      new DescriptorStream(std::move(socket), std::move(wake).value(), std::move(on_change)));
  auto thread = Thread::start({.name = std::move(thread_name)}, [self = stream.get()] { self->run(); });
  if (!thread) return thread.failure();
  stream->thread_.emplace(std::move(thread).value());
  return stream;
}

DescriptorStream::DescriptorStream(UniqueFd socket, EventFd wake, std::function<void()> on_change)
    : socket_(std::move(socket)), wake_(std::move(wake)), on_change_(std::move(on_change)), buffer_(kMostChunkBytes) {}

DescriptorStream::~DescriptorStream() {
  {
    std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  wake_.signal();
  if (thread_) thread_->join();
}

void DescriptorStream::read() {
  {
    std::lock_guard lock(mutex_);
    is_reading_ = true;
  }
  wake_.signal();
}

std::optional<DescriptorStream::Chunk> DescriptorStream::take_chunk() {
  std::lock_guard lock(mutex_);
  return std::exchange(chunk_, std::nullopt);
}

bool DescriptorStream::write(std::span<const std::byte> bytes, std::span<const int> descriptors) {
  const auto sent = send_some(socket_.get(), bytes, descriptors);
  if (sent == static_cast<ssize_t>(bytes.size())) return true;
  const int error = errno;
  const bool is_later = sent >= 0 || is_for_later(error);
  {
    std::lock_guard lock(mutex_);
    if (is_later) {
      outgoing_.assign(bytes.begin() + std::max<ssize_t>(sent, 0), bytes.end());
      sent_ = 0;
      if (sent < 0) outgoing_descriptors_.assign(descriptors.begin(), descriptors.end());
    } else {
      failure_ = Failure{error, "sendmsg"};
      has_failed_ = true;
    }
  }
  if (is_later) {
    wake_.signal();
  } else {
    on_change_();
  }
  return false;
}

bool DescriptorStream::take_written() {
  std::lock_guard lock(mutex_);
  return std::exchange(is_written_, false);
}

void DescriptorStream::end() { shutdown(socket_.get(), SHUT_WR); }

std::optional<Failure> DescriptorStream::take_failure() {
  std::lock_guard lock(mutex_);
  return std::exchange(failure_, std::nullopt);
}

void DescriptorStream::run() {
  for (;;) {
    short events = 0;
    {
      std::lock_guard lock(mutex_);
      if (is_stopping_) return;
      if (is_reading_ && !has_failed_) events |= POLLIN;
      if (!outgoing_.empty() && !has_failed_) events |= POLLOUT;
    }
    // A peer that is gone is always news to poll(): only where somebody waits for any.
    pollfd polled[] = {{wake_.get(), POLLIN, 0}, {events == 0 ? -1 : socket_.get(), events, 0}};
    if (::poll(polled, 2, -1) < 0) continue;
    wake_.drain();
    const auto happened = polled[1].revents;
    constexpr short kBroken = POLLHUP | POLLERR;
    if ((events & POLLOUT) != 0 && (happened & (POLLOUT | kBroken)) != 0) write_rest();
    if ((events & POLLIN) != 0 && (happened & (POLLIN | kBroken)) != 0) read_chunk();
  }
}

void DescriptorStream::read_chunk() {
  iovec piece{buffer_.data(), buffer_.size()};
  ControlBuffer control;
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof(control.bytes);
  const auto received = recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (received < 0) {
    if (!is_for_later(errno) && errno != EINTR) fail(last_failure("recvmsg"));
    return;
  }
  Chunk chunk{.bytes = {buffer_.begin(), buffer_.begin() + received},
              .descriptors = descriptors_in(message),
              .is_short = (message.msg_flags & MSG_CTRUNC) != 0};
  {
    std::lock_guard lock(mutex_);
    is_reading_ = false;
    chunk_ = std::move(chunk);
  }
  on_change_();
}

void DescriptorStream::write_rest() {
  bool is_done = false;
  {
    std::lock_guard lock(mutex_);
    const auto left = std::span<const std::byte>(outgoing_).subspan(sent_);
    const auto sent = send_some(socket_.get(), left, outgoing_descriptors_);
    if (sent < 0 && !is_for_later(errno)) {
      failure_ = last_failure("sendmsg");
      has_failed_ = true;
      is_done = true;
    } else if (sent > 0) {
      outgoing_descriptors_.clear();
      sent_ += static_cast<size_t>(sent);
      is_done = sent_ == outgoing_.size();
      is_written_ = is_done;
      if (is_done) outgoing_.clear();
    }
  }
  if (is_done) on_change_();
}

void DescriptorStream::fail(const Failure& failure) {
  {
    std::lock_guard lock(mutex_);
    failure_ = failure;
    has_failed_ = true;
  }
  on_change_();
}

}  // namespace tsvmm
