target_sources(core PRIVATE memory/block_reader.cc memory/dirty_bitmap.cc memory/external_pager.cc
  memory/frozen_image.cc memory/guest_memory.cc memory/image_base.cc memory/image_chain.cc memory/image_index.cc
  memory/image_loader.cc memory/image_page_source.cc memory/image_reader.cc memory/image_space.cc
  memory/image_writer.cc memory/layered_mapping.cc memory/lazy_memory.cc memory/mapping.cc memory/page_fill.cc
  memory/page_server.cc memory/paging_space.cc memory/raw_page_source.cc memory/residency.cc memory/span_job.cc
  memory/userfault.cc memory/write_protection.cc)
if(TARGET native_tests)
  target_sources(native_tests PRIVATE memory/dirty_bitmap_test.cc memory/external_pager_test.cc
    memory/frozen_image_test.cc memory/guest_memory_test.cc memory/image_base_test.cc memory/image_chain_test.cc
    memory/image_index_test.cc memory/image_page_source_test.cc memory/image_writer_test.cc memory/mapping_test.cc
    memory/page_server_failure_test.cc memory/page_server_test.cc memory/write_protection_test.cc)
endif()
