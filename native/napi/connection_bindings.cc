#include "napi/connection_bindings.h"

#include <unistd.h>

#include <utility>

#include "migration/socket_address.h"
#include "napi/addon_data.h"
#include "napi/arguments.h"

namespace tsvmm {

namespace {

constexpr uint64_t kLongestPatienceMs = 24ull * 60 * 60 * 1000;
constexpr uint64_t kLongestGreeting = 4096;

// Either `path`, or `host` and `port`.
std::optional<SocketAddress> read_address(Napi::Value value) {
  const auto env = value.Env();
  if (!value.IsObject()) {
    Napi::TypeError::New(env, "address must be an object").ThrowAsJavaScriptException();
    return {};
  }
  const auto object = value.As<Napi::Object>();
  auto address = Result<SocketAddress>(Failure{EINVAL, "read an address"});
  if (const Napi::Value path = object.Get("path"); !path.IsUndefined()) {
    const auto text = read_string(path, "path");
    if (!text) return {};
    address = SocketAddress::path(*text);
  } else {
    const auto host = read_string(object.Get("host"), "host");
    if (!host) return {};
    const auto port = read_uint(object.Get("port"), "port", UINT16_MAX);
    if (!port) return {};
    address = SocketAddress::network(*host, static_cast<uint16_t>(*port));
  }
  if (address) return address.value();
  throw_failure(env, address.failure());
  return {};
}

}  // namespace

std::optional<std::vector<UniqueFd>> take_descriptors(Napi::Value value, const char* name) {
  if (!value.IsArray()) {
    Napi::TypeError::New(value.Env(), std::string(name) + " must be an array").ThrowAsJavaScriptException();
    return {};
  }
  const auto array = value.As<Napi::Array>();
  std::vector<UniqueFd> descriptors;
  for (uint32_t index = 0; index < array.Length(); ++index) {
    const auto fd = read_uint(array.Get(index), name, INT32_MAX);
    if (!fd) return {};
    descriptors.emplace_back(static_cast<int>(*fd));
  }
  return descriptors;
}

void DoorkeeperBinding::define(Napi::Env env, Napi::Object exports) {
  using Self = DoorkeeperBinding;
  exports.Set("Doorkeeper",
              DefineClass(env, "Doorkeeper",
                          {InstanceAccessor<&Self::port>("port"), InstanceMethod<&Self::admit>("admit"),
                           InstanceMethod<&Self::unref>("unref"), InstanceMethod<&Self::close>("close")}));
}

DoorkeeperBinding::DoorkeeperBinding(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  const auto env = info.Env();
  if (!info[0].IsObject() || !info[0].As<Napi::Object>().Get("onConnection").IsFunction()) {
    Napi::TypeError::New(env, "options must be an object with onConnection").ThrowAsJavaScriptException();
    return;
  }
  const auto options = info[0].As<Napi::Object>();
  events_ = std::make_unique<EventQueue>(env, "tsvmm doorkeeper", [this] { shut_down(); });
  if (!start(options)) {
    events_->close();
    return;
  }
  callbacks_ = Napi::Persistent(options);
  self_ = Napi::Persistent(info.This().As<Napi::Object>());
  events_->keep_alive(true);
}

DoorkeeperBinding::~DoorkeeperBinding() { shut_down(); }

bool DoorkeeperBinding::start(Napi::Object options) {
  const auto env = options.Env();
  const auto greeting = read_uint_property(options, "greetingBytes", 0);
  if (!greeting) return false;
  const auto patience = read_uint_property(options, "patienceMs", 10'000);
  if (!patience) return false;
  if (*greeting > kLongestGreeting || *patience > kLongestPatienceMs) {
    Napi::RangeError::New(env, "greetingBytes or patienceMs is out of range").ThrowAsJavaScriptException();
    return false;
  }
  UniqueFd listener;
  if (const Napi::Value where = options.Get("address"); !where.IsUndefined()) {
    const auto address = read_address(where);
    if (!address) return false;
    auto listening = address->listen();
    if (!listening) return throw_failure(env, listening.failure()), false;
    listener = std::move(listening).value();
    port_ = SocketAddress::port_of(listener.get()).value();
    if (const Napi::Value path = where.As<Napi::Object>().Get("path"); path.IsString()) {
      path_ = path.As<Napi::String>().Utf8Value();
    }
  }
  auto started = Doorkeeper::start({.greeting_bytes = *greeting,
                                    .patience = std::chrono::milliseconds(*patience),
                                    .on_connection =
                                        [this](UniqueFd socket, std::vector<std::byte> words) {
                                          auto shared = std::make_shared<UniqueFd>(std::move(socket));
                                          events_->push([this, shared, words = std::move(words)](Napi::Env now) {
                                            let_in(now, std::move(*shared), words);
                                          });
                                        }},
                                   std::move(listener));
  if (!started) return throw_failure(env, started.failure()), false;
  keeper_ = std::move(started).value();
  return true;
}

void DoorkeeperBinding::let_in(Napi::Env env, UniqueFd socket, const std::vector<std::byte>& greeting) {
  const auto target = callbacks_.Value();
  const auto words = copy_bytes(env, {reinterpret_cast<const uint8_t*>(greeting.data()), greeting.size()});
  target.Get("onConnection").As<Napi::Function>().Call(target, {Napi::Number::New(env, socket.release()), words});
}

Napi::Value DoorkeeperBinding::port(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), port_); }

void DoorkeeperBinding::admit(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  const auto fd = read_uint(info[0], "fd", INT32_MAX);
  if (!fd) return;
  UniqueFd socket(static_cast<int>(*fd));
  if (!keeper_) return throw_closed(env, "Doorkeeper");
  keeper_->admit(std::move(socket));
}

void DoorkeeperBinding::unref(const Napi::CallbackInfo&) {
  if (keeper_) events_->keep_alive(false);
}

void DoorkeeperBinding::close(const Napi::CallbackInfo&) { shut_down(); }

void DoorkeeperBinding::shut_down() {
  if (keeper_ && !path_.empty()) unlink(path_.c_str());
  keeper_.reset();
  if (events_) events_->close();
  callbacks_.Reset();
  self_.Reset();
}

void DialBinding::define(Napi::Env env, Napi::Object exports) {
  exports.Set("Dial", DefineClass(env, "Dial",
                                  {InstanceMethod<&DialBinding::socket>("socket"),
                                   InstanceMethod<&DialBinding::cancel>("cancel")}));
}

DialBinding::DialBinding(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  const auto env = info.Env();
  const auto address = read_address(info[0]);
  if (!address) return;
  const auto patience = read_uint(info[1], "patienceMs", kLongestPatienceMs);
  if (!patience) return;
  deferred_ = Napi::Promise::Deferred::New(env);
  promise_ = Napi::Persistent(deferred_->Promise().As<Napi::Object>());
  events_ = std::make_unique<EventQueue>(env, "tsvmm dial", [this] { dial_.reset(); });
  auto started = Dial::start(*address, std::chrono::milliseconds(*patience), [this](Result<UniqueFd> result) {
    auto shared = std::make_shared<Result<UniqueFd>>(std::move(result));
    events_->push([this, shared](Napi::Env now) {
      if (*shared) socket_ = std::move(*shared).value();
      settle(now, *shared);
    });
  });
  if (!started) {
    settle(env, started.failure());
    return;
  }
  dial_ = std::move(started).value();
  self_ = Napi::Persistent(info.This().As<Napi::Object>());
  events_->keep_alive(true);
}

DialBinding::~DialBinding() {
  dial_.reset();
  if (events_) events_->close();
}

void DialBinding::settle(Napi::Env env, const Result<UniqueFd>& result) {
  if (result) {
    deferred_->Resolve(Napi::Number::New(env, socket_->release()));
  } else {
    deferred_->Reject(make_failure(env, result.failure()).Value());
  }
  events_->close();
  self_.Reset();
}

Napi::Value DialBinding::socket(const Napi::CallbackInfo&) { return promise_.Value(); }

void DialBinding::cancel(const Napi::CallbackInfo&) {
  if (dial_) dial_->cancel();
}

}  // namespace tsvmm
