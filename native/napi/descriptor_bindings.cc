#include "napi/descriptor_bindings.h"

#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "napi/addon_data.h"
#include "napi/arguments.h"

namespace tsvmm {

namespace {

// Of connections that nobody has looked at yet: more are ended, so that none takes all descriptors of this process.
constexpr size_t kMostWaiting = 64;

void throw_type(Napi::Env env, const char* message) { Napi::TypeError::New(env, message).ThrowAsJavaScriptException(); }

// The options of either class: an object with these functions.
std::optional<Napi::Object> read_options(Napi::Value value, std::initializer_list<const char*> functions) {
  if (!value.IsObject()) return throw_type(value.Env(), "options must be an object"), std::nullopt;
  const auto options = value.As<Napi::Object>();
  for (const auto* name : functions) {
    if (options.Get(name).IsFunction()) continue;
    return throw_type(value.Env(), (std::string(name) + " must be a function").c_str()), std::nullopt;
  }
  return options;
}

std::optional<std::vector<int>> read_descriptors(Napi::Value value) {
  std::vector<int> descriptors;
  if (value.IsUndefined()) return descriptors;
  if (!value.IsArray()) return throw_type(value.Env(), "descriptors must be an array"), std::nullopt;
  const auto array = value.As<Napi::Array>();
  for (uint32_t index = 0; index < array.Length(); ++index) {
    const auto fd = read_uint(array.Get(index), "descriptors", INT32_MAX);
    if (!fd) return {};
    descriptors.push_back(static_cast<int>(*fd));
  }
  if (descriptors.size() <= DescriptorStream::kMostDescriptors) return descriptors;
  Napi::RangeError::New(value.Env(), "descriptors: at most 253 fit into one message").ThrowAsJavaScriptException();
  return {};
}

Napi::Value connect_socket(const Napi::CallbackInfo& info) {
  const auto path = read_string(info[0], "path");
  if (!path) return info.Env().Undefined();
  auto socket = connect_to(*path);
  if (!socket) return throw_failure(info.Env(), socket.failure()), info.Env().Undefined();
  return Napi::Number::New(info.Env(), socket.value().release());
}

Napi::Value socket_pair(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
    return throw_failure(env, last_failure("socketpair")), env.Undefined();
  }
  auto pair = Napi::Array::New(env, 2);
  for (uint32_t end = 0; end < 2; ++end) pair.Set(end, Napi::Number::New(env, ends[end]));
  return pair;
}

// Node warns of descriptors that it has not opened and is to close in a worker.
void close_descriptor(const Napi::CallbackInfo& info) {
  if (const auto fd = read_uint(info[0], "fd", INT32_MAX)) ::close(static_cast<int>(*fd));
}

}  // namespace

void DescriptorSocketBinding::define(Napi::Env env, Napi::Object exports) {
  using Self = DescriptorSocketBinding;
  exports.Set("DescriptorSocket",
              DefineClass(env, "DescriptorSocket",
                          {InstanceMethod<&Self::read>("read"), InstanceMethod<&Self::write>("write"),
                           InstanceMethod<&Self::end>("end"), InstanceMethod<&Self::close>("close")}));
  exports.Set("connectSocket", Napi::Function::New<connect_socket>(env, "connectSocket"));
  exports.Set("socketPair", Napi::Function::New<socket_pair>(env, "socketPair"));
  exports.Set("closeDescriptor", Napi::Function::New<close_descriptor>(env, "closeDescriptor"));
}

DescriptorSocketBinding::DescriptorSocketBinding(const Napi::CallbackInfo& info) : ObjectWrap(info), env_(info.Env()) {
  start(info);
}

void DescriptorSocketBinding::start(const Napi::CallbackInfo& info) {
  const auto options = read_options(info[0], {"onChunk", "onWritten", "onFailure"});
  if (!options) return;
  const auto fd = read_uint(options->Get("fd"), "fd", INT32_MAX);
  if (!fd) return;
  UniqueFd socket(static_cast<int>(*fd));
  auto name = read_string(options->Get("threadName"), "threadName");
  if (!name) return;
  notifier_ = std::make_unique<Notifier>(env_, "tsvmm socket", [this](Napi::Env env) { deliver(env); });
  auto started = DescriptorStream::start(std::move(socket), std::move(*name),
                                         [notifier = notifier_.get()] { notifier->notify(); });
  if (!started) {
    notifier_.reset();
    return throw_failure(env_, started.failure());
  }
  stream_ = std::move(started).value();
  callbacks_ = Napi::Persistent(*options);
  self_ = Napi::Persistent(info.This().As<Napi::Object>());
  notifier_->keep_alive(env_, true);
  napi_add_env_cleanup_hook(env_, &DescriptorSocketBinding::leave_environment, this);
}

DescriptorSocketBinding::~DescriptorSocketBinding() { shut_down(); }

void DescriptorSocketBinding::leave_environment(void* self) {
  static_cast<DescriptorSocketBinding*>(self)->shut_down();
}

bool DescriptorSocketBinding::is_open(Napi::Env env) const {
  if (stream_ == nullptr) throw_closed(env, "DescriptorSocket");
  return stream_ != nullptr;
}

void DescriptorSocketBinding::read(const Napi::CallbackInfo& info) {
  if (is_open(info.Env())) stream_->read();
}

Napi::Value DescriptorSocketBinding::write(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (!is_open(env)) return env.Undefined();
  const auto bytes = read_bytes(info[0], "bytes");
  if (!bytes) return env.Undefined();
  const auto descriptors = read_descriptors(info[1]);
  if (!descriptors) return env.Undefined();
  return Napi::Boolean::New(env, stream_->write(std::as_bytes(*bytes), *descriptors));
}

void DescriptorSocketBinding::end(const Napi::CallbackInfo& info) {
  if (is_open(info.Env())) stream_->end();
}

void DescriptorSocketBinding::close(const Napi::CallbackInfo&) { shut_down(); }

// A callback may close the socket, or throw: then the rest follows in another turn, so that the exception is seen.
void DescriptorSocketBinding::deliver(Napi::Env env) {
  while (stream_ && deliver_one(env)) {
    if (!env.IsExceptionPending()) continue;
    if (notifier_) notifier_->notify();
    return;
  }
}

bool DescriptorSocketBinding::deliver_one(Napi::Env env) {
  if (auto chunk = stream_->take_chunk()) {
    auto descriptors = Napi::Array::New(env, chunk->descriptors.size());
    for (uint32_t index = 0; index < chunk->descriptors.size(); ++index) {
      // From here on it is JavaScript's to close.
      descriptors.Set(index, chunk->descriptors[index].release());
    }
    const auto bytes = std::span(reinterpret_cast<const uint8_t*>(chunk->bytes.data()), chunk->bytes.size());
    call("onChunk", {copy_bytes(env, bytes), descriptors, Napi::Boolean::New(env, chunk->is_short)});
    return true;
  }
  if (stream_->take_written()) return call("onWritten", {}), true;
  if (const auto failure = stream_->take_failure()) {
    return call("onFailure", {make_failure(env, *failure).Value()}), true;
  }
  return false;
}

void DescriptorSocketBinding::call(const char* name, const std::vector<napi_value>& arguments) {
  const auto target = callbacks_.Value();
  target.Get(name).As<Napi::Function>().Call(target, arguments);
}

void DescriptorSocketBinding::shut_down() {
  if (stream_ == nullptr) return;
  napi_remove_env_cleanup_hook(env_, &DescriptorSocketBinding::leave_environment, this);
  // The thread first: afterwards nobody notifies.
  stream_.reset();
  notifier_->close();
  callbacks_.Reset();
  self_.Reset();
}

void DescriptorListenerBinding::define(Napi::Env env, Napi::Object exports) {
  exports.Set("DescriptorListener",
              DefineClass(env, "DescriptorListener", {InstanceMethod<&DescriptorListenerBinding::close>("close")}));
}

DescriptorListenerBinding::DescriptorListenerBinding(const Napi::CallbackInfo& info)
    : ObjectWrap(info), env_(info.Env()) {
  start(info);
}

void DescriptorListenerBinding::start(const Napi::CallbackInfo& info) {
  const auto options = read_options(info[0], {"onConnection"});
  if (!options) return;
  auto name = read_string(options->Get("threadName"), "threadName");
  if (!name) return;
  auto socket = Result<UniqueFd>(UniqueFd());
  if (const Napi::Value path = options->Get("path"); !path.IsUndefined()) {
    const auto text = read_string(path, "path");
    if (!text) return;
    socket = listen_at(*text);
  } else {
    const auto fd = read_uint(options->Get("fd"), "fd", INT32_MAX);
    if (!fd) return;
    socket = UniqueFd(static_cast<int>(*fd));
  }
  if (!socket) return throw_failure(env_, socket.failure());
  notifier_ = std::make_unique<Notifier>(env_, "tsvmm listener", [this](Napi::Env env) { deliver(env); });
  auto started = DescriptorListener::start(std::move(socket).value(), std::move(*name), [this](UniqueFd connection) {
    {
      std::lock_guard lock(mutex_);
      if (accepted_.size() >= kMostWaiting) return;
      accepted_.push_back(std::move(connection));
    }
    notifier_->notify();
  });
  if (!started) {
    notifier_.reset();
    return throw_failure(env_, started.failure());
  }
  listener_ = std::move(started).value();
  callbacks_ = Napi::Persistent(*options);
  self_ = Napi::Persistent(info.This().As<Napi::Object>());
  notifier_->keep_alive(env_, true);
  napi_add_env_cleanup_hook(env_, &DescriptorListenerBinding::leave_environment, this);
}

DescriptorListenerBinding::~DescriptorListenerBinding() { shut_down(); }

void DescriptorListenerBinding::leave_environment(void* self) {
  static_cast<DescriptorListenerBinding*>(self)->shut_down();
}

// A callback may close the listener, or throw: then the rest follows in another turn.
void DescriptorListenerBinding::deliver(Napi::Env env) {
  while (listener_) {
    UniqueFd connection;
    {
      std::lock_guard lock(mutex_);
      if (accepted_.empty()) return;
      connection = std::move(accepted_.front());
      accepted_.erase(accepted_.begin());
    }
    const auto target = callbacks_.Value();
    // From here on it is JavaScript's to close.
    target.Get("onConnection").As<Napi::Function>().Call(target, {Napi::Number::New(env, connection.release())});
    if (!env.IsExceptionPending()) continue;
    if (notifier_) notifier_->notify();
    return;
  }
}

void DescriptorListenerBinding::close(const Napi::CallbackInfo&) { shut_down(); }

void DescriptorListenerBinding::shut_down() {
  if (listener_ == nullptr) return;
  napi_remove_env_cleanup_hook(env_, &DescriptorListenerBinding::leave_environment, this);
  // The thread first: afterwards nobody notifies.
  listener_.reset();
  accepted_.clear();
  notifier_->close();
  callbacks_.Reset();
  self_.Reset();
}

}  // namespace tsvmm
