defmodule MQTT.Router do
  @moduledoc """
  Who has subscribed to what, and what is retained: the heart of a broker, natively.

  A router brings a message to the `MQTT.Session` of each subscriber, and to its connection if it has
  one, without waking a process of theirs, nor that of a publisher that does not flood. `MQTT.Broker` is made of it; a broker of one's own is a handler of
  `MQTT.Server` whose `c:MQTT.Server.init/2` returns a session and the router:

      def init(router, _params) do
        {:ok, router, [session: MQTT.Session.new(), router: router]}
      end

      def handle_subscribe(filter, qos, options, router) do
        options = Map.put(options, :qos, qos)

        case MQTT.Router.subscribe(router, MQTT.Session.current(), filter, options) do
          {:error, reason} -> {:error, reason, router}
          {_new_or_replaced, _cursor} -> {:ok, qos, router}
        end
      end

      def handle_unsubscribe(filter, router) do
        MQTT.Router.unsubscribe(router, MQTT.Session.current(), filter)
        {:ok, router}
      end

      # Here a session ends with its connection.
      def terminate(_reason, router) do
        MQTT.Router.leave(router, MQTT.Session.current())
      end

  From then on what the client publishes goes to the router, and `c:MQTT.Server.handle_publish/4` is called for its will
  only. With `{:router, router, :callbacks}` it is called for each message, and publishes what it wants by `publish/5`.

  A router lives as long as something refers to it, and keeps the sessions of its subscribers until
  `leave/2`.
  """

  alias MQTT.{Message, Native, Options, Reason, Session}

  @schema [
    {:shared_subscriptions, {:in, [:least_loaded, :sticky, :hash]}, :least_loaded,
     "Which member of a group gets a message: the one with the fewest messages that it has not acknowledged, the same as long as it is connected, or one that depends on the publisher."},
    {:max_retained_messages, {:integer, 0, :infinity}, 1_000_000, "Messages that are retained."},
    {:max_retained_bytes, {:integer, 0, :infinity}, 1_073_741_824,
     "Bytes of them, with their topics."}
  ]

  @typedoc "A router."
  @opaque t :: reference

  @typedoc """
  Where `send_retained/5` goes on. The first one comes from `subscribe/4`: what is retained later is left out, since it
  goes to the subscriber as a message that matches.
  """
  @opaque cursor :: non_neg_integer | reference

  @typedoc """
  What a router holds: sessions, their subscriptions and the bytes that these take, about; messages that are
  `:retained`, and their bytes. Messages that were published (`:received`), and how many they went to together (`:sent`).
  """
  @type info :: %{
          sessions: non_neg_integer,
          subscriptions: non_neg_integer,
          size: non_neg_integer,
          retained: non_neg_integer,
          retained_bytes: non_neg_integer,
          received: non_neg_integer,
          sent: non_neg_integer
        }

  @doc false
  def schema, do: @schema

  @doc """
  A router without subscriptions.

  #{Options.docs(@schema)}
  """
  @spec new(keyword) :: t
  def new(options \\ []) do
    options = Options.validate!(options, @schema, "MQTT.Router")

    Native.router_new(
      options.shared_subscriptions,
      options.max_retained_messages,
      options.max_retained_bytes
    )
  end

  @doc """
  Subscribes a session to a filter, or changes that subscription. `options` may have `:qos`, `:no_local`,
  `:retain_as_published` and `:subscription_identifier`, and `shared: false` for a client that does not know
  shared subscriptions, to which a filter that begins with `$share/` is one like any other. Says whether the subscription is new
  or replaces another, with the cursor for `send_retained/5`.

  `{:error, :quota_exceeded}` says that the session keeps as many subscriptions as it may, or that the router has no room for such a filter;
  `{:error, :session_taken_over}` that another connection has the session than that of the calling process, and `{:error,
  :other_router}` that it is another router's.

  Filters of up to ten levels, and those with a single `+` in up to 64 levels, always have room. Of others there may be 2,048 different sets of levels at which
  they have `+`, counted up to each of their levels, so that what one message is compared with has a limit.

      iex> {router, session} = {MQTT.Router.new(), MQTT.Session.new()}
      iex> {:new, _cursor} = MQTT.Router.subscribe(router, session, "plant/+/status", %{qos: 1})
      iex> MQTT.Router.publish(router, "plant/7/status", "on", %{qos: 1})
      {:ok, :success, 1}
      iex> MQTT.Session.info(session).queued
      1

  """
  @spec subscribe(t, Session.t(), filter :: String.t(), map | keyword) ::
          {:new | :replaced, cursor}
          | {:error, :session_taken_over | :other_router | :quota_exceeded}
  def subscribe(router, session, filter, options \\ %{}) do
    options = Options.to_map(options)
    Options.subscription!(filter, options)
    shared = Map.get(options, :shared, true)

    case Native.router_subscribe(router, session, filter, shared, options) do
      {:error, {:invalid, reason}} -> no_filter(filter, reason)
      result -> result
    end
  end

  @spec no_filter(String.t(), atom) :: no_return
  defp no_filter(filter, reason) do
    raise ArgumentError, "#{inspect(filter)} is no topic filter: #{Reason.words(reason)}"
  end

  @doc "Ends a subscription, and says whether there was one."
  @spec unsubscribe(t, Session.t(), filter :: String.t()) :: boolean
  def unsubscribe(router, session, filter),
    do: Native.router_unsubscribe(router, session, filter)

  @doc "Forgets a session with all its subscriptions, and says how many these were."
  @spec leave(t, Session.t()) :: non_neg_integer
  def leave(router, session) do
    with :large <- Native.router_leave(router, session),
         do: Native.router_leave_large(router, session)
  end

  @doc """
  Publishes a message to those who have subscribed to its topic, and says how many they are. One with `:retain` is retained
  besides, or, without a payload, what was retained is removed.

  Options are `:qos`, `:retain` and `:properties`, as in a publish action of `MQTT.Server`. `session` is the publisher's, if it has
  one: what it has subscribed to with `:no_local` it does not get.

  The reason is `:success`, `:no_matching_subscribers`, or, if there is no room to retain it and nobody has
  subscribed either, `:quota_exceeded`. What cannot be published at all raises an `ArgumentError`.
  """
  @spec publish(t, topic :: iodata, message :: iodata, map | keyword, Session.t() | nil) ::
          {:ok, Reason.t(), non_neg_integer}
  def publish(router, topic, message, options \\ %{}, session \\ nil) do
    options = options |> Options.to_map() |> Map.drop([:ref, :packet_id, :dup])
    router |> Native.router_publish(session, topic, message, options) |> published(options)
  end

  defp published({:ok, reason, count}, _options), do: {:ok, Reason.name(reason), count}

  # So many that one call does not do.
  defp published({:more, remaining}, options),
    do: remaining |> Native.router_continue() |> published(options)

  defp published({:error, {:invalid, reason}}, options),
    do: Options.wrong_message(reason, options)

  @doc """
  Sends retained messages that a filter matches to a connection, as many as its client takes now: `:done`, or
  `{:more, cursor}` to be called again at once, after others had their turn, or `{:wait, cursor}` to be called when the
  client has read, or `{:gone, cursor}` if the connection has ended or lost its session, for who has that next. The first cursor is what `subscribe/4` gave, and `options` are those of the subscription.
  """
  @spec send_retained(t, MQTT.Server.connection(), filter :: String.t(), map, cursor) ::
          :done | {:more | :wait | :gone, cursor}
  def send_retained(router, connection, filter, options, cursor),
    do: Native.router_send_retained(router, connection, filter, options, cursor)

  @doc false
  # Whether there may be any, by looking at some.
  @spec retained?(t, filter :: String.t(), cursor) :: boolean
  def retained?(router, filter, cursor), do: Native.router_has_retained(router, filter, cursor)

  @doc """
  The retained messages that a filter matches, by their topics. With the cursor of a subscription it is those that were
  retained before it.

      iex> router = MQTT.Router.new()
      iex> {:ok, _, 0} = MQTT.Router.publish(router, "a/b", "kept", %{retain: true})
      iex> [message] = router |> MQTT.Router.retained("a/#") |> Enum.to_list()
      iex> message.payload
      "kept"

  """
  @spec retained(t, filter :: String.t(), cursor | nil) :: Enumerable.t()
  def retained(router, filter, cursor \\ nil) do
    Stream.resource(
      fn -> cursor end,
      fn
        :done -> {:halt, :done}
        cursor -> page(router, filter, cursor)
      end,
      fn _ -> :ok end
    )
  end

  defp page(router, filter, cursor) do
    case Native.router_retained(router, filter, cursor) do
      {:error, {:invalid, reason}} ->
        no_filter(filter, reason)

      {found, next} ->
        messages =
          for {topic, payload, options} <- found,
              do: struct!(%Message{topic: topic, payload: payload}, options)

        {messages, next}
    end
  end

  @doc "What the router holds."
  @spec info(t) :: info
  def info(router), do: Native.router_info(router)

  @doc "Removes retained messages that have expired; without it they are not given to anybody, and take memory."
  @spec expire(t) :: :ok
  def expire(router), do: if(Native.router_expire(router), do: expire(router), else: :ok)
end
