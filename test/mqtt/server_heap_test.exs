defmodule MQTT.ServerHeapTest do
  # How much heap a connection's process has at least, and when.
  use MQTT.Test.Compat

  alias MQTT.Test.{Faulty, Residue, Scripted}

  test_each "the heap that CONNECT had is given back" do
    {port, opts} = serve(transport, Faulty, {self(), nil})
    client = connect(port, opts)
    assert_receive {:connected, pid, _}
    Residue.eventually(fn -> assert Residue.hibernates?(pid) end)
    assert min_heap_size(pid) == min_heap_size(self())
    assert {:total_heap_size, size} = Process.info(pid, :total_heap_size)
    assert size < 900
    assert_open(client)
  end

  test "the heap that the handler wants stays" do
    test = self()

    init = fn _params, state ->
      Process.flag(:min_heap_size, 5_000)
      send(test, {:wanted, self(), min_heap_size(self())})
      {:ok, state}
    end

    {port, opts} = serve(:tcp, Scripted, Scripted.with_functions(%{init: init}))
    client = connect(port, opts)
    assert_receive {:wanted, pid, size}
    Residue.eventually(fn -> assert Residue.hibernates?(pid) end)
    assert min_heap_size(pid) == size
    assert_open(client)
  end

  test_each "the heap is larger while the client floods" do
    {port, opts} = serve(transport, Scripted, Scripted.with_functions())
    client = connect(port, opts)
    assert_receive {:init, pid, _}
    usual = min_heap_size(self())
    Residue.eventually(fn -> assert min_heap_size(pid) == usual end)

    flood(client)
    Residue.eventually(fn -> assert min_heap_size(pid) > 10_000 end)
    # It is silent now.
    Residue.eventually(fn ->
      assert min_heap_size(pid) == usual
      assert {:total_heap_size, size} = Process.info(pid, :total_heap_size)
      assert size < 10_000
    end)

    assert_open(client)
  end

  test_each "a handler may limit the heap of a client that floods" do
    init = fn _params, state ->
      Process.flag(:max_heap_size, %{size: 30_000, kill: true, error_logger: false})
      {:ok, state}
    end

    {port, opts} = serve(transport, Scripted, Scripted.with_functions(%{init: init}))
    client = connect(port, opts)
    for _ <- 1..20, do: flood(client)
    assert_open(client)
  end

  # So many messages that what they took is given back behind them.
  defp flood(client) do
    send_bytes(client, String.duplicate(publish_packet("flood", ""), 300))
    for _ <- 1..300, do: assert_receive({:handle_publish, ["flood", "", _]})
  end

  defp min_heap_size(pid) do
    {:garbage_collection, options} = Process.info(pid, :garbage_collection)
    options[:min_heap_size]
  end
end
