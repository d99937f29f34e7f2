#include "memory/external_pager.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>

namespace tsvmm {

namespace {

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77  // Linux 6.5
#endif

constexpr int kLooks = 10;
constexpr const char* kGone = "the page fault handler has gone";
constexpr const char* kStalled = "the page fault handler has closed its connection and answers no more";

Result<UniqueFd> connect_to(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return Failure{ENAMETOOLONG, "connect to the page fault handler"};
  std::memcpy(address.sun_path, path.data(), path.size());
  // Non-blocking: a backlog that is full is an error at once.
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.is_open()) return last_failure("socket");
  if (connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return last_failure("connect to the page fault handler");
  }
  return socket;
}

Result<> send_with_descriptor(int socket, std::string& text, int descriptor) {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  iovec bytes{text.data(), text.size()};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  auto* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
  const auto sent = sendmsg(socket, &message, MSG_NOSIGNAL);
  if (sent < 0) return last_failure("send to the page fault handler");
  // Handlers expect all of it in one message.
  if (static_cast<size_t>(sent) != text.size()) return Failure{EMSGSIZE, "send to the page fault handler"};
  return Unit{};
}

UniqueFd process_behind(int socket) {
  int process = -1;
  socklen_t length = sizeof(process);
  if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &process, &length) == 0) return UniqueFd(process);
  // Older kernels: by its number, which is still its own as it has only just taken the connection.
  ucred credentials{};
  length = sizeof(credentials);
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return UniqueFd();
  return UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, credentials.pid, 0)));
}

}  // namespace

std::string describe_mappings(const PagingSpace& space) {
  std::string text = "[";
  for (const auto& segment : space.segments()) {
    const auto field = [&](const char* name, uint64_t value) {
      text += name;
      text += std::to_string(value);
    };
    if (text.size() > 1) text += ',';
    field(R"({"base_host_virt_addr":)", reinterpret_cast<uintptr_t>(segment.host));
    field(R"(,"size":)", segment.pages * kImagePageSize);
    field(R"(,"offset":)", segment.first_page * kImagePageSize);
    field(R"(,"page_size":)", segment.unit * kImagePageSize);
    // In bytes too, its name notwithstanding: it was there first.
    field(R"(,"page_size_kib":)", segment.unit * kImagePageSize);
    text += '}';
  }
  return text + ']';
}

ExternalPager::ExternalPager(const ExternalPagerOptions& options, std::unique_ptr<LazyMemory> memory, UniqueFd socket,
                             EventFd kick)
    : memory_(std::move(memory)),
      socket_(std::move(socket)),
      process_(process_behind(socket_.get())),
      kick_(std::move(kick)),
      stall_(options.stall),
      failure_(options.on_failure, options.grace) {}

Result<std::unique_ptr<ExternalPager>> ExternalPager::start(const ExternalPagerOptions& options) {
  auto socket = connect_to(options.socket_path);
  if (!socket) return socket.failure();
  auto kick = EventFd::create();
  if (!kick) return kick.failure();
  auto memory = LazyMemory::create(options.memory);
  if (!memory) return memory.failure();
  auto text = describe_mappings(memory.value()->space());
  const auto sent = send_with_descriptor(socket.value().get(), text, memory.value()->descriptor());
  if (!sent) return sent.failure();
  std::unique_ptr<ExternalPager> pager(
      new ExternalPager(options, std::move(memory).value(), std::move(socket).value(), std::move(kick).value()));
  auto thread = Thread::start({"page-watch"}, [self = pager.get()] { self->watch(); });
  if (!thread) return thread.failure();
  pager->thread_.emplace(std::move(thread).value());
  return pager;
}

ExternalPager::~ExternalPager() {
  memory_->release();
  is_quitting_ = true;
  kick_.signal();
  thread_.reset();
  memory_->close();
}

void ExternalPager::watch() {
  await_end();
  if (is_quitting_) return;
  drain_events();
}

// Returns when the other side is gone, which is told then, or when the pager quits.
void ExternalPager::await_end() {
  std::array<char, 64> ignored{};
  bool is_connected = true;
  while (is_connected && !is_quitting_) {
    pollfd ready[] = {{socket_.get(), POLLIN, 0}, {kick_.get(), POLLIN, 0}};
    poll(ready, 2, -1);
    // Nothing is said there after the beginning, and nothing of it would matter.
    if (ready[0].revents == 0) continue;
    const auto count = recv(socket_.get(), ignored.data(), ignored.size(), 0);
    is_connected = count > 0 || (count < 0 && (errno == EAGAIN || errno == EINTR));
  }
  if (is_quitting_) return;
  if (!process_.is_open()) return failure_.report(kGone);
  await_stall();
}

// Some handlers keep the userfaultfd only. So long as the process is there, faults are expected to be answered.
void ExternalPager::await_stall() {
  int looks = 0;
  while (!is_quitting_) {
    pollfd ready[] = {{process_.get(), POLLIN, 0}, {kick_.get(), POLLIN, 0}};
    const int count = poll(ready, 2, static_cast<int>(stall_.count() / kLooks));
    if (ready[0].revents != 0) return failure_.report(kGone);
    if (count != 0) continue;
    looks = waiting_faults() != 0 ? looks + 1 : 0;
    if (looks >= kLooks) return failure_.report(kStalled);
  }
}

// What the kernel tells of the userfaultfd: faults that nobody has answered yet, whether read or not.
uint64_t ExternalPager::waiting_faults() const {
  const auto path = "/proc/self/fdinfo/" + std::to_string(memory_->descriptor());
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 1024> text{};
  if (!file.is_open() || read(file.get(), text.data(), text.size() - 1) <= 0) return 0;
  const auto* total = std::strstr(text.data(), "total:");
  return total == nullptr ? 0 : std::strtoull(total + std::strlen("total:"), nullptr, 10);
}

// Faults are left to wait, for the machine to be stopped; whoever removes memory goes on.
void ExternalPager::drain_events() {
  while (!is_quitting_) {
    while (memory_->take()) {
    }
    const bool is_released = memory_->is_released();
    pollfd ready[] = {{memory_->descriptor(), POLLIN, 0}, {kick_.get(), POLLIN, 0}};
    poll(ready, 2, is_released ? -1 : failure_.remaining_ms());
    if (!is_released && failure_.is_overdue()) memory_->release();
  }
}

}  // namespace tsvmm
