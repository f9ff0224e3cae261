defmodule MQTT.Test.Wire do
  @moduledoc false
  # A client that writes and reads bytes, over TCP or TLS.

  import ExUnit.Assertions

  @enforce_keys [:module, :socket]
  defstruct @enforce_keys

  @timeout 5_000

  @doc "Opens a connection without sending anything."
  def open(port, opts \\ []) do
    {tls, opts} = Keyword.pop(opts, :tls, false)
    opts = [:binary, active: false, packet: :raw, nodelay: true] ++ opts

    if tls do
      {:ok, socket} = :ssl.connect({127, 0, 0, 1}, port, [verify: :verify_none] ++ opts, @timeout)
      %__MODULE__{module: :ssl, socket: socket}
    else
      {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, port, opts, @timeout)
      %__MODULE__{module: :gen_tcp, socket: socket}
    end
  end

  @doc "Opens a connection, sends a CONNECT, and expects it to be accepted."
  def connect(port, opts \\ []) do
    {connect, opts} = Keyword.pop(opts, :connect, connect_packet())
    client = open(port, opts)
    send_bytes(client, connect)
    assert recv(client) == <<0x20, 2, 0, 0>>
    client
  end

  @doc "A CONNECT of MQTT 3.1.1 with a client identifier and, maybe, other fields."
  def connect_packet(fields \\ []) do
    fields = Map.new([type: :connect, client_id: "client", keep_alive: 60] ++ fields)
    {:ok, binary} = MQTT.Packet.encode(fields, Map.get(fields, :protocol_version, 4))
    binary
  end

  @doc "A PUBLISH at QoS 0."
  def publish_packet(topic, payload) do
    {:ok, binary} = MQTT.Packet.encode(%{type: :publish, topic: topic, payload: payload}, 4)
    binary
  end

  def send_bytes(%{module: module, socket: socket}, bytes) do
    :ok = module.send(socket, bytes)
  end

  @doc "The next whole packet."
  def recv(client, timeout \\ @timeout) do
    <<first, length>> = recv_bytes(client, 2, timeout)
    {length_bytes, length} = remaining_length(client, <<length>>, timeout)
    body = if length == 0, do: "", else: recv_bytes(client, length, timeout)
    <<first, length_bytes::binary, body::binary>>
  end

  defp remaining_length(client, bytes, timeout) do
    if :binary.last(bytes) < 0x80 do
      digits = bytes |> :binary.bin_to_list() |> Enum.with_index()

      {bytes,
       for({digit, index} <- digits, reduce: 0, do: (sum -> sum + rem(digit, 128) * 128 ** index))}
    else
      remaining_length(client, bytes <> recv_bytes(client, 1, timeout), timeout)
    end
  end

  def recv_bytes(%{module: module, socket: socket}, count, timeout \\ @timeout) do
    case module.recv(socket, count, timeout) do
      {:ok, bytes} -> bytes
      {:error, reason} -> flunk("#{count} bytes expected, and #{inspect(reason)} came")
    end
  end

  @doc "All that comes before the server closes."
  def recv_all(%{module: module, socket: socket} = client) do
    case module.recv(socket, 0, @timeout) do
      {:ok, bytes} -> bytes <> recv_all(client)
      {:error, reason} when reason in [:closed, :econnreset] -> ""
      {:error, reason} -> flunk("the end was expected, and #{inspect(reason)} came")
    end
  end

  @doc "The server says nothing more and closes."
  def assert_closed(%{module: module, socket: socket}) do
    case module.recv(socket, 0, @timeout) do
      {:error, reason} when reason in [:closed, :econnreset] -> :ok
      other -> flunk("the end was expected, and #{inspect(other)} came")
    end
  end

  @doc "The server is still there."
  def assert_open(client) do
    send_bytes(client, <<0xC0, 0>>)
    assert recv(client) == <<0xD0, 0>>
  end

  @doc "A port that nobody listens on."
  def free_port do
    {:ok, socket} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
    {:ok, port} = :inet.port(socket)
    :gen_tcp.close(socket)
    port
  end

  def close(%{module: module, socket: socket}), do: module.close(socket)

  @doc "Closes without waiting for what the server does not read."
  def abort(%{module: :gen_tcp, socket: socket} = client) do
    :inet.setopts(socket, linger: {true, 0})
    close(client)
  end
end
