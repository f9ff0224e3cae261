defmodule MQTT.Transport do
  @moduledoc """
  An accepted socket, on its way into `MQTT.Server.enter_loop/3`.

      {:ok, socket} = :gen_tcp.accept(listen_socket)
      MQTT.Transport.new(:tcp, socket)

  The socket belongs to the process that enters the loop; give it away with
  `:gen_tcp.controlling_process/2` or `:ssl.controlling_process/2` first. Bytes that the caller has
  read from it are gone, all others are the server's, also those that are already in the mailbox.

  The socket of a TCP transport stays open and passive, so that `:inet.peername/1` and
  `:inet.sockname/1` work in the handler; nobody else may read it or make it active.
  """

  alias MQTT.Transport.{SSL, TCP}

  @enforce_keys [:type, :socket]
  defstruct @enforce_keys

  @opaque t :: %__MODULE__{type: :tcp | :ssl, socket: :gen_tcp.socket() | :ssl.sslsocket()}

  @doc """
  The transport of an accepted `:gen_tcp` socket, on the inet driver or with
  `inet_backend: :socket`, or of an `:ssl` socket whose handshake is done.

  ## Examples

      iex> {:ok, listener} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
      iex> MQTT.Transport.new(:tcp, listener).type
      :tcp

  """
  @spec new(:tcp | :ssl, :gen_tcp.socket() | :ssl.sslsocket()) :: t
  def new(:tcp, socket) when is_port(socket), do: %__MODULE__{type: :tcp, socket: socket}

  def new(:tcp, {:"$inet", _module, _} = socket),
    do: %__MODULE__{type: :tcp, socket: socket}

  def new(:ssl, socket) when is_tuple(socket) and elem(socket, 0) == :sslsocket,
    do: %__MODULE__{type: :ssl, socket: socket}

  def new(type, socket) when type in [:tcp, :ssl] do
    raise ArgumentError, "#{inspect(socket)} is not a socket of type #{inspect(type)}"
  end

  def new(type, _socket) do
    raise ArgumentError, "the type of a transport must be :tcp or :ssl, got: #{inspect(type)}"
  end

  @doc false
  # The connection over the socket, and who does its input and output: the native side, or the
  # socket's own process.
  @spec open(t, MQTT.Server.Options.t()) ::
          {:ok, reference, :native | {:ssl, :ssl.sslsocket()}} | {:error, term}
  def open(%__MODULE__{type: :tcp, socket: socket}, options) do
    with {:ok, connection} <- TCP.open(socket, options), do: {:ok, connection, :native}
  end

  def open(%__MODULE__{type: :ssl, socket: socket}, options) do
    with {:ok, connection} <- SSL.open(socket, options), do: {:ok, connection, {:ssl, socket}}
  end
end
