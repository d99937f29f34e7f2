#include "migration/doorkeeper.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

namespace tsvmm {

namespace {
// Without a descriptor left nothing can be accepted, and the listener stays readable.
constexpr std::chrono::milliseconds kShortage{100};
// Before it is looked whether this is to end: there may always be one more.
constexpr int kMostAtOnce = 64;
}  // namespace

Doorkeeper::Doorkeeper(Options options, UniqueFd listener, EventFd kick)
    : options_(std::move(options)), listener_(std::move(listener)), kick_(std::move(kick)) {}

Result<std::unique_ptr<Doorkeeper>> Doorkeeper::start(Options options, UniqueFd listener) {
  auto kick = EventFd::create();
  if (!kick) return kick.failure();
  std::unique_ptr<Doorkeeper> keeper(new Doorkeeper(std::move(options), std::move(listener), std::move(kick).value()));
  auto thread = Thread::start({"doorkeeper"}, [&each = *keeper] { each.run(); });
  if (!thread) return thread.failure();
  keeper->thread_.emplace(std::move(thread).value());
  return keeper;
}

Doorkeeper::~Doorkeeper() {
  {
    std::lock_guard lock(mutex_);
    is_quitting_ = true;
  }
  kick_.signal();
  thread_.reset();
}

void Doorkeeper::admit(UniqueFd socket) {
  {
    std::lock_guard lock(mutex_);
    admitted_.push_back(std::move(socket));
  }
  kick_.signal();
}

void Doorkeeper::run() {
  for (;;) {
    std::vector<pollfd> ready{{kick_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
    for (const auto& guest : guests_) ready.push_back({guest.socket.get(), POLLIN, 0});
    poll(ready.data(), ready.size(), remaining_ms());
    kick_.drain();
    {
      std::lock_guard lock(mutex_);
      if (is_quitting_) return;
    }
    for (auto& guest : std::exchange(guests_, {})) {
      const auto progress = greet(guest);
      if (progress == Progress::kDone) options_.on_connection(std::move(guest.socket), std::move(guest.greeting));
      if (progress == Progress::kWaits) guests_.push_back(std::move(guest));
    }
    if (ready[1].revents != 0) accept_all();
    take_admitted();
  }
}

int Doorkeeper::remaining_ms() const {
  auto first = Clock::time_point::max();
  for (const auto& guest : guests_) first = std::min(first, guest.deadline);
  if (first == Clock::time_point::max()) return -1;
  const auto rest = std::chrono::ceil<std::chrono::milliseconds>(first - Clock::now()).count();
  return rest > 0 ? static_cast<int>(rest) : 0;
}

void Doorkeeper::accept_all() {
  for (int accepted = 0; accepted < kMostAtOnce; ++accepted) {
    UniqueFd socket(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket.is_open()) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
        pollfd kicked{kick_.get(), POLLIN, 0};
        poll(&kicked, 1, static_cast<int>(kShortage.count()));
      }
      return;
    }
    prepare_connection(socket.get());
    add(std::move(socket));
  }
}

void Doorkeeper::take_admitted() {
  std::vector<UniqueFd> admitted;
  {
    std::lock_guard lock(mutex_);
    admitted = std::exchange(admitted_, {});
  }
  for (auto& socket : admitted) add(std::move(socket));
}

void Doorkeeper::add(UniqueFd socket) {
  if (options_.greeting_bytes == 0) return options_.on_connection(std::move(socket), {});
  if (guests_.size() >= options_.most_waiting) return;
  guests_.push_back({.socket = std::move(socket),
                     .deadline = Clock::now() + options_.patience,
                     .greeting = std::vector<std::byte>(options_.greeting_bytes)});
}

Doorkeeper::Progress Doorkeeper::greet(Guest& guest) const {
  while (guest.got < guest.greeting.size()) {
    const auto rest = std::span(guest.greeting).subspan(guest.got);
    const auto got = recv(guest.socket.get(), rest.data(), rest.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return Clock::now() < guest.deadline ? Progress::kWaits : Progress::kGone;
    if (got <= 0) return Progress::kGone;
    guest.got += static_cast<size_t>(got);
  }
  return Progress::kDone;
}

}  // namespace tsvmm
