target_sources(core PRIVATE io/descriptor_listener.cc io/descriptor_stream.cc io/pieces.cc io/rate_limiter.cc io/ring.cc)
if(TARGET native_tests)
  target_sources(native_tests PRIVATE io/descriptor_stream_test.cc io/rate_limiter_test.cc)
endif()
