defmodule MQTT.Server.Accepting do
  @moduledoc false
  # What is known of a client before it is accepted, and what the handler said about it.

  alias MQTT.Server.Events

  # properties: of CONNACK
  # session: a session, with the number of the connection if it has one, :new or nil
  # route: the router, whether what the client publishes goes there, and which rules say what of it may; or nil
  # will: whether the will is published for the handler, and for which process, if for one
  # asks: whether handle_delivery/4 is called for each message of the session
  @enforce_keys [:properties, :session, :route, :will, :asks]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          properties: map,
          session: :new | reference | {reference, non_neg_integer} | nil,
          route: {reference, boolean, reference | nil} | nil,
          will: nil | :auto | {:auto, pid},
          asks: boolean
        }

  # Reasons of 0.2.2 that have another name in MQTT 5.0.
  @rejections %{
    unacceptable_protocol: :unsupported_protocol_version,
    identifier_rejected: :client_identifier_not_valid,
    bad_username_or_password: :bad_user_name_or_password
  }

  @doc "What `init/2` is told of a TLS connection besides CONNECT."
  @spec describe(:ssl.sslsocket()) :: map
  def describe(socket) do
    params = %{
      transport: :ssl,
      peer: address(:ssl.peername(socket)),
      local: address(:ssl.sockname(socket))
    }

    case :ssl.peercert(socket) do
      {:ok, certificate} -> Map.put(params, :peer_certificate, certificate)
      {:error, _} -> params
    end
  end

  defp address({:ok, address}), do: address
  defp address({:error, _}), do: nil

  @doc """
  The client identifier that we choose for a client that has none, or `nil`. MQTT 5.0 can tell a client which one it
  got [MQTT-3.1.3-7].
  """
  @spec assigned_id(map) :: String.t() | nil
  def assigned_id(%{client_id: "", protocol_version: 5}), do: new_id()
  def assigned_id(_params), do: nil

  @doc "A client identifier that nobody has."
  @spec new_id :: String.t()
  def new_id, do: "auto-" <> Base.encode32(:crypto.strong_rand_bytes(15), case: :lower)

  @doc "What actions of `init/2` say about the connection, and the others."
  @spec split([term]) :: {t, [term]}
  def split(actions) do
    {ours, actions} = Enum.split_with(actions, &ours?/1)

    accepting = %__MODULE__{
      properties: for({:connack, map} <- ours, reduce: %{}, do: (all -> Map.merge(all, map))),
      session: ours |> List.keyfind(:session, 0) |> session(),
      route: ours |> Enum.find(&(elem(&1, 0) == :router)) |> route(),
      will: with({:will, will} <- List.keyfind(ours, :will, 0), do: will),
      asks: List.keymember?(ours, :deliveries, 0)
    }

    {accepting, actions}
  end

  defp ours?({:connack, properties}) when is_map(properties), do: true
  defp ours?({:session, :new}), do: true
  defp ours?({:session, session}) when is_reference(session), do: true

  defp ours?({:session, session, number})
       when is_reference(session) and number in 0..0xFFFF_FFFF_FFFF_FFFF,
       do: true

  defp ours?({:will, :auto}), do: true
  defp ours?({:will, {:auto, pid}}) when is_pid(pid), do: true
  defp ours?({:deliveries, :callbacks}), do: true
  defp ours?({:router, router}) when is_reference(router), do: true
  defp ours?({:router, router, :callbacks}) when is_reference(router), do: true

  defp ours?({:router, router, rules}) when is_reference(router) and is_reference(rules),
    do: true

  defp ours?({:router, router, {:callbacks, rules}})
       when is_reference(router) and is_reference(rules),
       do: true

  defp ours?(_action), do: false

  @doc "Whether the handler can have what it asked for."
  @spec check(t, Events.Handler.t()) :: :ok | {:error, {Exception.t(), list}}
  def check(%{session: nil, asks: true}, _handler), do: bad_deliveries("it needs a session")

  def check(%{session: nil, route: {router, _, _}}, _handler),
    do: {:error, Events.bad_action({:router, router}, "it needs a session")}

  def check(%{asks: true}, handler) do
    if :handle_delivery in handler.optional,
      do: :ok,
      else: bad_deliveries("there is no handle_delivery/4")
  end

  def check(_accepting, _handler), do: :ok

  defp bad_deliveries(why), do: {:error, Events.bad_action({:deliveries, :callbacks}, why)}

  defp session(nil), do: nil
  defp session({:session, session}), do: session
  defp session({:session, session, number}), do: {session, number}

  defp route(nil), do: nil
  defp route({:router, router}), do: {router, true, nil}
  defp route({:router, router, :callbacks}), do: {router, false, nil}
  defp route({:router, router, {:callbacks, rules}}), do: {router, false, rules}
  defp route({:router, router, rules}), do: {router, true, rules}

  @doc """
  The code that says a reason for which a client is rejected, whether it is that of the client's version already, and
  the properties. If none says it, CONNACK does not [MQTT-3.2.2-6].
  """
  @spec rejection(term) :: {:ok, 1..255, boolean, map} | :error
  # The numbers of 0.2.2 are sent as they are, to clients that know them.
  def rejection(code) when is_integer(code) and code in 1..255, do: {:ok, code, true, %{}}

  def rejection(reason) do
    case Events.reason(Map.get(@rejections, reason, reason)) do
      {:ok, code, properties} when code >= 0x80 -> {:ok, code, false, properties}
      _ -> :error
    end
  end
end
